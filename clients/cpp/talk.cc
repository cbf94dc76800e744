// Says a recording to Parley and writes what it answers: see ../README.md.
#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "parley/agent/v1/agent_service.grpc.pb.h"
#include "wav.h"

namespace agent = parley::agent::v1;
namespace common = parley::common::v1;
using google::protobuf::util::TimeUtil;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kFrame = 20ms;
constexpr auto kQuiet = 2s, kPatience = 30s;
constexpr uint32_t kAnswerHertz = 24000;

size_t FrameBytes(uint32_t hertz) { return 2 * size_t{hertz} * kFrame.count() / 1000; }

// The name of an enum's value without the enum's own.
std::string Without(const std::string& prefix, const std::string& name) {
  return name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name;
}

// What is to be played of the answer; begin is in bytes of its item.
struct Chunk {
  std::string item;
  size_t begin;
  std::string audio;
};

// A status that ended the session.
struct Failure : std::runtime_error {
  explicit Failure(const grpc::Status& status) : std::runtime_error(Line(status)) {}

  // STATUS REASON: message, as far as they are known.
  static std::string Line(const grpc::Status& status) {
    static const char* const kNames[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
        "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
    std::string line = kNames[status.error_code()];
    google::rpc::Status details;
    details.ParseFromString(status.error_details());
    google::rpc::ErrorInfo info;
    for (const auto& detail : details.details())
      if (detail.UnpackTo(&info)) line += " " + info.reason();
    return line + ": " + status.error_message();
  }
};

class Conversation {
 public:
  Conversation(const std::string& target, const agent::SessionConfig& config)
      : stub_(agent::VoiceAgentService::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()))),
        stream_(stub_->Converse(&context_)) {
    agent::ConverseRequest opening;
    *opening.mutable_session_update()->mutable_session() = config;
    Send(opening);
    reader_ = std::thread([this] {
      agent::ConverseResponse event;
      while (stream_->Read(&event)) {
        std::lock_guard lock(mutex_);
        events_.push_back(event);
      }
      const grpc::Status status = stream_->Finish();
      std::lock_guard lock(mutex_);
      ended_ = status;
    });
  }

  ~Conversation() {
    context_.TryCancel();
    reader_.join();
  }

  // Says the question: every 20 ms a frame of it goes up, and a frame of the answer is played. Returns what was played.
  std::string Talk(const Recording& question) {
    const auto begun = Clock::now();
    for (int tick = 1;; ++tick) {
      if (HandleEvents()) return played_;
      if (!over_) {
        const size_t size = FrameBytes(question.hertz), said = (tick - 1) * size;
        const bool all_said = said >= question.samples.size();
        std::string audio = all_said ? "" : question.samples.substr(said, size);
        audio.resize(size);  // silence, once all is said
        agent::ConverseRequest request;
        request.mutable_input_audio_buffer_append()->set_audio(audio);
        Send(request);
        Play(FrameBytes(kAnswerHertz));
        const auto silence = Clock::now() - heard_at_;
        if (all_said && silence > kPatience)
          throw std::runtime_error("DEADLINE_EXCEEDED: the server has fallen silent");
        over_ = all_said && unfinished_.empty() && waiting_.empty() && silence > kQuiet;
        if (over_) stream_->WritesDone();  // and the server ends the session
      }
      std::this_thread::sleep_until(begun + tick * kFrame);
    }
  }

 private:
  // Whether the session has ended.
  bool HandleEvents() {
    std::deque<agent::ConverseResponse> events;
    std::optional<grpc::Status> ended;
    {
      std::lock_guard lock(mutex_);
      events.swap(events_);
      ended = ended_;
    }
    for (const auto& event : events) Handle(event);
    if (ended && !ended->ok()) throw Failure(*ended);
    return ended.has_value();
  }

  // Prints an event and does what a client has to do.
  void Handle(const agent::ConverseResponse& event) {
    heard_at_ = Clock::now();
    switch (event.event_case()) {
      case agent::ConverseResponse::kInputAudioBufferSpeechStarted:
        std::cout << "speech started" << std::endl;
        unfinished_.insert(event.input_audio_buffer_speech_started().item_id());
        StopPlaying();
        break;
      case agent::ConverseResponse::kInputAudioTranscriptionCompleted:
        std::cout << "you: " << event.input_audio_transcription_completed().transcript() << std::endl;
        unfinished_.erase(event.input_audio_transcription_completed().item_id());
        if (!event.input_audio_transcription_completed().transcript().empty() && unfinished_.empty())
          unfinished_.insert("answer");
        break;
      case agent::ConverseResponse::kResponseCreated:
        unfinished_.erase("answer");
        unfinished_.insert(event.response_created().response_id());
        break;
      case agent::ConverseResponse::kResponseOutputAudioDelta: {
        const auto& delta = event.response_output_audio_delta();
        const double offset_s = TimeUtil::DurationToNanoseconds(delta.offset()) / 1e9;
        waiting_.push_back({delta.item_id(), 2 * size_t(std::lround(offset_s * kAnswerHertz)), delta.audio()});
        break;
      }
      case agent::ConverseResponse::kResponseFunctionCall: {
        const auto& call = event.response_function_call().call();
        std::cout << "call: " << call.name() << std::endl;
        unfinished_.insert("answer");
        const std::time_t now = std::time(nullptr);
        char text[32];
        std::strftime(text, sizeof text, "It is %H:%M.", std::localtime(&now));
        agent::ConverseRequest request;
        auto* output = request.mutable_conversation_item_create()->mutable_item();
        output->set_role(common::ROLE_TOOL);
        output->set_tool_call_id(call.id());
        output->add_content()->set_text(text);
        Send(request);
        break;
      }
      case agent::ConverseResponse::kResponseDone: {
        const auto& done = event.response_done();
        std::string outcome = Without("RESPONSE_STATUS_", agent::ResponseStatus_Name(done.status()));
        std::transform(outcome.begin(), outcome.end(), outcome.begin(), ::tolower);
        std::cout << "parley (" << outcome << "): " << done.transcript() << std::endl;
        unfinished_.erase(done.response_id());
        break;
      }
      case agent::ConverseResponse::kError:
        if (event.error().client_event_id() == "truncate") break;  // the answer had just ended: nothing is lost
        throw std::runtime_error(Without("ERROR_REASON_", common::ErrorReason_Name(event.error().reason())) + ": " +
                                 event.error().message());
      default:
        break;
    }
  }

  void Play(size_t size) {
    while (size > 0 && !waiting_.empty()) {
      Chunk& chunk = waiting_.front();
      const std::string part = chunk.audio.substr(0, size);
      played_ += part;
      size -= part.size();
      chunk.begin += part.size();
      chunk.audio.erase(0, part.size());
      if (chunk.audio.empty()) waiting_.pop_front();
    }
  }

  // Drops what was not played, and says how far the item was.
  void StopPlaying() {
    if (waiting_.empty()) return;
    agent::ConverseRequest request;
    request.set_event_id("truncate");
    auto* truncate = request.mutable_conversation_item_truncate();
    truncate->set_item_id(waiting_.front().item);
    const int64_t frames = waiting_.front().begin / 2;
    *truncate->mutable_audio_end() = TimeUtil::NanosecondsToDuration(frames * 1'000'000'000 / kAnswerHertz);
    waiting_.clear();
    Send(request);
  }

  void Send(const agent::ConverseRequest& request) {
    if (!over_) stream_->Write(request);  // where that fails, Finish says why
  }

  grpc::ClientContext context_;
  std::unique_ptr<agent::VoiceAgentService::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<agent::ConverseRequest, agent::ConverseResponse>> stream_;
  std::thread reader_;
  std::mutex mutex_;  // of the two below, which the reader fills
  std::deque<agent::ConverseResponse> events_;
  std::optional<grpc::Status> ended_;

  std::deque<Chunk> waiting_;
  std::string played_;
  std::set<std::string> unfinished_ = {"answer"};  // to come: an answer, words of an utterance, a response's end
  bool over_ = false;
  Clock::time_point heard_at_ = Clock::now();
};

void SetPcm(common::AudioFormat* format, uint32_t hertz) {
  format->set_encoding(common::AUDIO_ENCODING_PCM_S16LE);
  format->set_sample_rate_hertz(hertz);
}

int main(int argc, char** argv) try {
  std::string output;
  agent::SessionConfig config;
  for (int at = 3; at < argc; ++at) {
    const std::string word = argv[at];
    if (word == "-o" && at + 1 < argc) {
      output = argv[++at];
    } else if (word == "--language" && at + 1 < argc) {
      config.set_language_code(argv[++at]);
    } else if (word == "--clock") {
      auto* tool = config.add_tools();
      tool->set_name("get_time");
      tool->set_description("Tells what time it is.");
      tool->set_parameters_json_schema(R"({"type": "object"})");
    }
  }
  if (output.empty())
    throw std::runtime_error("usage: talk HOST:PORT QUESTION.wav -o ANSWER.wav [--language en] [--clock]");
  const Recording question = ReadWav(argv[2]);
  SetPcm(config.mutable_input_audio_format(), question.hertz);
  SetPcm(config.mutable_output_audio_format(), kAnswerHertz);
  const std::string answer = Conversation(argv[1], config).Talk(question);
  if (answer.empty()) throw std::runtime_error("there was no answer");
  WriteWav(output, {kAnswerHertz, answer});
} catch (const std::exception& error) {
  std::cerr << "talk: " << error.what() << std::endl;
  return 1;
}
