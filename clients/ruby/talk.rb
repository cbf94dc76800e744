#!/usr/bin/env ruby
# Says a recording to Parley and writes what it answers: see ../README.md.
$LOAD_PATH.unshift File.join(__dir__, 'gen')
require 'grpc'
require 'google/protobuf/well_known_types'
require 'google/rpc/error_details_pb'
require 'google/rpc/status_pb'
require 'optparse'
require 'parley/agent/v1/agent_service_services_pb'
require 'set'
require_relative 'wav'

include Parley::Agent::V1
include Parley::Common::V1

FRAME_S, QUIET_S, PATIENCE_S, ANSWER_HZ = 0.02, 2.0, 30.0, 24_000
CLOCK = Tool.new(name: 'get_time', description: 'Tells what time it is.', parameters_json_schema: '{"type": "object"}')

# What is to be played of the answer; begin is in bytes of its item.
Chunk = Struct.new(:item, :begin, :audio)

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
def frame_bytes(hertz) = 2 * (hertz * FRAME_S).round
def pcm(hertz) = AudioFormat.new(encoding: :AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz: hertz)

class Conversation
  def initialize(target, session)
    @stub = VoiceAgentService::Stub.new(target, :this_channel_is_insecure)
    @sent, @events = Queue.new, Queue.new # between this thread and gRPC's
    @waiting, @played = [], String.new
    @unfinished = Set['answer'] # to come: an answer, the words of an utterance, the end of a response
    @heard_at = now
    send_event(session_update: SessionUpdate.new(session: session))
    Thread.new { receive }
  end

  # Says the question: every 20 ms a frame of it goes up, and a frame of the answer is played. Returns what was played.
  def talk(question, hertz)
    size = frame_bytes(hertz)
    begun = now
    1.step do |tick|
      handle(@events.pop) until @events.empty?
      return @played if @ended

      audio = question.byteslice((tick - 1) * size, size) || ''
      send_event(input_audio_buffer_append: InputAudioBufferAppend.new(audio: audio.ljust(size, "\0"))) # then silence
      play(frame_bytes(ANSWER_HZ))
      all_said, silence = tick * size >= question.bytesize, now - @heard_at
      raise 'DEADLINE_EXCEEDED: the server has fallen silent' if all_said && silence > PATIENCE_S

      # Without more requests the server ends the session.
      @sent.close if all_said && @unfinished.empty? && @waiting.empty? && silence > QUIET_S
      sleep [begun + tick * FRAME_S - now, 0].max
    end
  end

  private

  def receive
    @stub.converse(Enumerator.new { |out| while (request = @sent.pop) do out << request end }).each { |e| @events << e }
    @events << :end
  rescue GRPC::BadStatus => e
    @events << e
  end

  def send_event(event_id: '', **event)
    @sent << ConverseRequest.new(event_id: event_id, **event) unless @sent.closed?
  end

  # Prints an event and does what a client has to do.
  def handle(event)
    raise event if event.is_a?(GRPC::BadStatus)
    return @ended = true if event == :end

    @heard_at = now
    case event.event
    when :input_audio_buffer_speech_started
      puts 'speech started'
      @unfinished << event.input_audio_buffer_speech_started.item_id
      stop_playing
    when :input_audio_transcription_completed
      puts "you: #{event.input_audio_transcription_completed.transcript}"
      @unfinished.delete(event.input_audio_transcription_completed.item_id)
      words = !event.input_audio_transcription_completed.transcript.empty?
      @unfinished << 'answer' if words && @unfinished.empty?
    when :response_created
      @unfinished.delete('answer')
      @unfinished << event.response_created.response_id
    when :response_output_audio_delta
      delta = event.response_output_audio_delta
      @waiting << Chunk.new(delta.item_id, 2 * (delta.offset.to_f * ANSWER_HZ).round, delta.audio)
    when :response_function_call
      call = event.response_function_call.call
      puts "call: #{call.name}"
      @unfinished << 'answer'
      content = [ContentPart.new(text: Time.now.strftime('It is %H:%M.'))]
      item = Message.new(role: :ROLE_TOOL, tool_call_id: call.id, content: content)
      send_event(conversation_item_create: ConversationItemCreate.new(item: item))
    when :response_done
      done = event.response_done
      puts "parley (#{done.status.to_s.delete_prefix('RESPONSE_STATUS_').downcase}): #{done.transcript}"
      @unfinished.delete(done.response_id)
    when :error
      return if event.error.client_event_id == 'truncate' # the answer had just ended: nothing is lost

      raise "#{event.error.reason.to_s.delete_prefix('ERROR_REASON_')}: #{event.error.message}"
    end
  end

  def play(size)
    while size.positive? && (chunk = @waiting.first)
      part = chunk.audio.byteslice(0, size)
      @played << part
      size -= part.bytesize
      chunk.begin += part.bytesize
      chunk.audio = chunk.audio.byteslice(part.bytesize..)
      @waiting.shift if chunk.audio.empty?
    end
  end

  # Drops what was not played, and says how far the item was.
  def stop_playing
    cut = @waiting.first
    @waiting.clear
    return unless cut

    nanos = cut.begin * 1_000_000_000 / (2 * ANSWER_HZ)
    audio_end = Google::Protobuf::Duration.new(seconds: nanos / 1_000_000_000, nanos: nanos % 1_000_000_000)
    truncate = ConversationItemTruncate.new(item_id: cut.item, audio_end: audio_end)
    send_event(event_id: 'truncate', conversation_item_truncate: truncate)
  end
end

# STATUS REASON: message, as far as they are known.
def line(failure)
  name = GRPC::Core::StatusCodes.constants.find { |code| GRPC::Core::StatusCodes.const_get(code) == failure.code }
  info = failure.to_rpc_status&.details.to_a.find { |detail| detail.is(Google::Rpc::ErrorInfo) }
  reason = info && " #{info.unpack(Google::Rpc::ErrorInfo).reason}"
  "#{name}#{reason}: #{failure.details}"
end

begin
  output = language = clock = nil
  OptionParser.new do |options|
    options.on('-o FILE') { |file| output = file }
    options.on('--language CODE') { |code| language = code }
    options.on('--clock') { clock = true }
  end.parse!
  raise 'usage: talk HOST:PORT QUESTION.wav -o ANSWER.wav [--language en] [--clock]' unless ARGV.size == 2 && output

  hertz, question = Wav.read(ARGV[1])
  session = SessionConfig.new(input_audio_format: pcm(hertz), output_audio_format: pcm(ANSWER_HZ))
  session.language_code = language if language
  session.tools << CLOCK if clock
  answer = Conversation.new(ARGV[0], session).talk(question, hertz)
  raise 'there was no answer' if answer.empty?

  Wav.write(output, ANSWER_HZ, answer)
rescue GRPC::BadStatus => e
  abort "talk: #{line(e)}"
rescue StandardError => e
  abort "talk: #{e.message}"
end
