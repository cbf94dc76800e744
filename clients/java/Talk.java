import com.google.protobuf.ByteString;
import com.google.protobuf.util.Durations;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.time.LocalTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import javax.sound.sampled.AudioFileFormat;
import javax.sound.sampled.AudioInputStream;
import javax.sound.sampled.AudioSystem;
import javax.sound.sampled.UnsupportedAudioFileException;
import parley.agent.v1.*;
import parley.common.v1.*;

/** Says a recording to Parley and writes what it answers: see ../README.md. */
public final class Talk implements StreamObserver<ConverseResponse> {
  private static final int FRAME_MS = 20, QUIET_MS = 2_000, PATIENCE_MS = 30_000, ANSWER_HZ = 24_000;

  /** A part of the answer that is to be played; begin is in bytes of its item. */
  private record Chunk(String item, int begin, byte[] audio) {}

  // Everything below is touched by this one thread alone, which also receives the events.
  private final ScheduledExecutorService loop = Executors.newSingleThreadScheduledExecutor();
  private final CompletableFuture<byte[]> answer = new CompletableFuture<>();
  private final ArrayDeque<Chunk> waiting = new ArrayDeque<>();
  private final ByteArrayOutputStream played = new ByteArrayOutputStream();
  private final Set<String> unfinished = new HashSet<>(Set.of("answer")); // and utterances and responses to end
  private final ByteArrayInputStream question;
  private final int hertz;
  private StreamObserver<ConverseRequest> server;
  private long heardAt = System.nanoTime();
  private boolean ended;

  private Talk(byte[] question, int hertz) {
    this.question = new ByteArrayInputStream(question);
    this.hertz = hertz;
  }

  /** Says the question; returns what was played. */
  private byte[] converse(String target, String language, boolean clock)
      throws InterruptedException, ExecutionException {
    ManagedChannel channel = ManagedChannelBuilder.forTarget(target).usePlaintext().executor(loop).build();
    SessionConfig.Builder session =
        SessionConfig.newBuilder().setInputAudioFormat(pcm(hertz)).setOutputAudioFormat(pcm(ANSWER_HZ));
    if (language != null) session.setLanguageCode(language);
    if (clock)
      session.addToolsBuilder().setName("get_time").setDescription("Tells what time it is.")
          .setParametersJsonSchema("{\"type\": \"object\"}");
    try {
      loop.execute(() -> {
        server = VoiceAgentServiceGrpc.newStub(channel).converse(this);
        send(ConverseRequest.newBuilder().setSessionUpdate(SessionUpdate.newBuilder().setSession(session)));
      });
      loop.scheduleAtFixedRate(this::tick, 0, FRAME_MS, TimeUnit.MILLISECONDS);
      return answer.get();
    } finally {
      channel.shutdownNow();
      loop.shutdownNow();
    }
  }

  /** Every 20 ms a frame of the question goes up, and a frame of the answer is played. */
  private void tick() {
    if (ended) return;
    byte[] audio = new byte[frameBytes(hertz)]; // silence, once all is said
    question.read(audio, 0, audio.length);
    send(ConverseRequest.newBuilder()
        .setInputAudioBufferAppend(InputAudioBufferAppend.newBuilder().setAudio(ByteString.copyFrom(audio))));
    play(frameBytes(ANSWER_HZ));
    long quietMs = (System.nanoTime() - heardAt) / 1_000_000;
    if (question.available() > 0) return;
    if (quietMs > PATIENCE_MS)
      onError(Status.DEADLINE_EXCEEDED.withDescription("the server has fallen silent").asRuntimeException());
    else if (unfinished.isEmpty() && waiting.isEmpty() && quietMs > QUIET_MS) {
      ended = true;
      server.onCompleted(); // and the server ends the session
    }
  }

  /** Prints an event and does what a client has to do. */
  @Override
  public void onNext(ConverseResponse event) {
    heardAt = System.nanoTime();
    switch (event.getEventCase()) {
      case INPUT_AUDIO_BUFFER_SPEECH_STARTED -> {
        System.out.println("speech started");
        unfinished.add(event.getInputAudioBufferSpeechStarted().getItemId());
        stopPlaying();
      }
      case INPUT_AUDIO_TRANSCRIPTION_COMPLETED -> {
        System.out.println("you: " + event.getInputAudioTranscriptionCompleted().getTranscript());
        unfinished.remove(event.getInputAudioTranscriptionCompleted().getItemId());
        boolean words = !event.getInputAudioTranscriptionCompleted().getTranscript().isEmpty();
        if (words && unfinished.isEmpty()) unfinished.add("answer");
      }
      case RESPONSE_CREATED -> {
        unfinished.remove("answer");
        unfinished.add(event.getResponseCreated().getResponseId());
      }
      case RESPONSE_OUTPUT_AUDIO_DELTA -> {
        ResponseOutputAudioDelta delta = event.getResponseOutputAudioDelta();
        int begin = 2 * (int) Math.round(Durations.toNanos(delta.getOffset()) / 1e9 * ANSWER_HZ);
        waiting.add(new Chunk(delta.getItemId(), begin, delta.getAudio().toByteArray()));
      }
      case RESPONSE_FUNCTION_CALL -> {
        ToolCall call = event.getResponseFunctionCall().getCall();
        System.out.println("call: " + call.getName());
        unfinished.add("answer");
        String text = LocalTime.now().format(DateTimeFormatter.ofPattern("'It is' HH:mm'.'"));
        Message output = Message.newBuilder().setRole(Role.ROLE_TOOL).setToolCallId(call.getId())
            .addContent(ContentPart.newBuilder().setText(text)).build();
        send(ConverseRequest.newBuilder()
            .setConversationItemCreate(ConversationItemCreate.newBuilder().setItem(output)));
      }
      case RESPONSE_DONE -> {
        ResponseDone done = event.getResponseDone();
        String outcome = done.getStatus().name().replace("RESPONSE_STATUS_", "").toLowerCase();
        System.out.printf("parley (%s): %s%n", outcome, done.getTranscript());
        unfinished.remove(done.getResponseId());
      }
      case ERROR -> {
        ErrorEvent error = event.getError();
        if (error.getClientEventId().equals("truncate")) break; // the answer had just ended: nothing is lost
        onError(new IOException(error.getReason().name().replace("ERROR_REASON_", "") + ": " + error.getMessage()));
      }
      default -> {}
    }
  }

  @Override
  public void onError(Throwable error) {
    ended = true;
    answer.completeExceptionally(error);
  }

  @Override
  public void onCompleted() {
    ended = true;
    answer.complete(played.toByteArray());
  }

  private void play(int size) {
    while (size > 0 && !waiting.isEmpty()) {
      Chunk chunk = waiting.poll();
      int part = Math.min(size, chunk.audio.length);
      played.write(chunk.audio, 0, part);
      size -= part;
      if (part < chunk.audio.length) {
        byte[] rest = Arrays.copyOfRange(chunk.audio, part, chunk.audio.length);
        waiting.addFirst(new Chunk(chunk.item, chunk.begin + part, rest));
      }
    }
  }

  /** Drops what was not played, and says how far the item was. */
  private void stopPlaying() {
    Chunk cut = waiting.peek();
    waiting.clear();
    if (cut == null) return;
    ConversationItemTruncate.Builder truncate = ConversationItemTruncate.newBuilder().setItemId(cut.item)
        .setAudioEnd(Durations.fromNanos(cut.begin * 1_000_000_000L / (2 * ANSWER_HZ)));
    send(ConverseRequest.newBuilder().setEventId("truncate").setConversationItemTruncate(truncate));
  }

  private void send(ConverseRequest.Builder event) {
    if (!ended) server.onNext(event.build());
  }

  private static int frameBytes(int hertz) {
    return 2 * hertz * FRAME_MS / 1000;
  }

  private static AudioFormat pcm(int hertz) {
    AudioEncoding encoding = AudioEncoding.AUDIO_ENCODING_PCM_S16LE;
    return AudioFormat.newBuilder().setEncoding(encoding).setSampleRateHertz(hertz).build();
  }

  /** STATUS REASON: message, as far as they are known. */
  private static String line(Throwable error) throws IOException {
    if (!(error instanceof StatusRuntimeException failure)) return error.getMessage();
    StringBuilder head = new StringBuilder(failure.getStatus().getCode().name());
    com.google.rpc.Status details = StatusProto.fromThrowable(failure);
    for (var detail : details == null ? List.<com.google.protobuf.Any>of() : details.getDetailsList())
      if (detail.is(ErrorInfo.class)) head.append(' ').append(detail.unpack(ErrorInfo.class).getReason());
    return head + ": " + failure.getStatus().getDescription();
  }

  public static void main(String[] arguments) throws IOException {
    try {
      List<String> words = Arrays.asList(arguments);
      int output = words.indexOf("-o"), language = words.indexOf("--language");
      if (words.size() < 4 || output < 0 || output + 1 == words.size() || language + 1 == words.size())
        throw new IOException("usage: talk HOST:PORT QUESTION.wav -o ANSWER.wav [--language en] [--clock]");
      AudioInputStream question = AudioSystem.getAudioInputStream(new File(words.get(1)));
      javax.sound.sampled.AudioFormat format = question.getFormat();
      if (format.getChannels() != 1 || format.getSampleSizeInBits() != 16)
        throw new IOException(words.get(1) + " is not 16 bit mono");
      byte[] answer = new Talk(question.readAllBytes(), (int) format.getSampleRate())
          .converse(words.get(0), language < 0 ? null : words.get(language + 1), words.contains("--clock"));
      if (answer.length == 0) throw new IOException("there was no answer");
      var spoken = new javax.sound.sampled.AudioFormat(ANSWER_HZ, 16, 1, true, false);
      AudioSystem.write(new AudioInputStream(new ByteArrayInputStream(answer), spoken, answer.length / 2),
          AudioFileFormat.Type.WAVE, new File(words.get(output + 1)));
    } catch (ExecutionException failure) {
      System.err.println("talk: " + line(failure.getCause()));
      System.exit(1);
    } catch (IOException | UnsupportedAudioFileException | InterruptedException failure) {
      System.err.println("talk: " + failure.getMessage());
      System.exit(1);
    }
  }
}
