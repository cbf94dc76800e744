// Says a recording to Parley and writes what it answers: see ../README.md.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import {
  ConverseRequestSchema,
  type ConverseResponse,
  ResponseStatus,
  VoiceAgentService,
} from "./gen/parley/agent/v1/agent_service_pb.js";
import { AudioEncoding } from "./gen/parley/common/v1/audio_pb.js";
import { Role } from "./gen/parley/common/v1/chat_pb.js";
import { ErrorReason } from "./gen/parley/common/v1/error_reason_pb.js";
import { readWav, type Recording, writeWav } from "./wav.js";

const FRAME_MS = 20, QUIET_MS = 2_000, PATIENCE_MS = 30_000;
const ANSWER_HZ = 24_000, ANSWER_BYTES_PER_MS = (ANSWER_HZ * 2) / 1000;
const CLOCK = { name: "get_time", description: "Tells what time it is.", parametersJsonSchema: '{"type": "object"}' };

type Request = MessageInitShape<typeof ConverseRequestSchema>;

class Conversation {
  private waiting: { itemId: string; offset: number; audio: Buffer }[] = []; // what is to be played; offset in bytes
  private unfinished = new Set(["answer"]); // to come: an answer, the words of an utterance, the end of a response
  private outbox: Request[] = [];
  private heardAt = Date.now();
  readonly played: Buffer[] = [];

  constructor(private question: Recording, private language?: string, private clock?: boolean) {}

  /** What the client sends: every 20 ms a frame of the question. As often, a frame of the answer is played. */
  async *requests(): AsyncGenerator<Request> {
    const { sampleRate, samples } = this.question;
    const inputAudioFormat = { encoding: AudioEncoding.PCM_S16LE, sampleRateHertz: sampleRate };
    const outputAudioFormat = { encoding: AudioEncoding.PCM_S16LE, sampleRateHertz: ANSWER_HZ };
    const tools = this.clock ? [CLOCK] : [];
    const session = { inputAudioFormat, outputAudioFormat, languageCode: this.language, tools };
    yield { event: { case: "sessionUpdate", value: { session } } };

    const frame = 2 * Math.round((sampleRate * FRAME_MS) / 1000);
    const begun = Date.now();
    for (let tick = 0; !this.isOver(tick * frame >= samples.length); tick++) {
      const audio = Buffer.alloc(frame); // silence, once all is said
      audio.set(samples.subarray(tick * frame, (tick + 1) * frame));
      yield { event: { case: "inputAudioBufferAppend", value: { audio } } };
      this.play(FRAME_MS * ANSWER_BYTES_PER_MS);
      yield* this.outbox.splice(0);
      await sleep(Math.max(0, begun + (tick + 1) * FRAME_MS - Date.now()));
    }
  }

  /** Prints an event and does what a client has to do. */
  handle({ event }: ConverseResponse) {
    this.heardAt = Date.now();
    switch (event.case) {
      case "inputAudioBufferSpeechStarted":
        console.log("speech started");
        this.unfinished.add(event.value.itemId);
        this.stopPlaying();
        break;
      case "inputAudioTranscriptionCompleted":
        console.log(`you: ${event.value.transcript}`);
        this.unfinished.delete(event.value.itemId);
        if (event.value.transcript && this.unfinished.size === 0) this.unfinished.add("answer");
        break;
      case "responseCreated":
        this.unfinished.delete("answer");
        this.unfinished.add(event.value.responseId);
        break;
      case "responseOutputAudioDelta": {
        const { itemId, audio, offset } = event.value;
        const offsetMs = Number(offset?.seconds ?? 0n) * 1000 + (offset?.nanos ?? 0) / 1e6;
        this.waiting.push({ itemId, offset: offsetMs * ANSWER_BYTES_PER_MS, audio: Buffer.from(audio) });
        break;
      }
      case "responseFunctionCall": {
        const { id, name } = event.value.call!;
        console.log(`call: ${name}`);
        this.unfinished.add("answer");
        const text = `It is ${new Date().toTimeString().slice(0, 5)}.`;
        const item = { role: Role.TOOL, toolCallId: id, content: [{ part: { case: "text" as const, value: text } }] };
        this.outbox.push({ event: { case: "conversationItemCreate", value: { item } } });
        break;
      }
      case "responseDone":
        console.log(`parley (${ResponseStatus[event.value.status].toLowerCase()}): ${event.value.transcript}`);
        this.unfinished.delete(event.value.responseId);
        break;
      case "error":
        if (event.value.clientEventId === "truncate") break; // the answer had just ended: nothing is lost
        throw new Error(`${ErrorReason[event.value.reason]}: ${event.value.message}`);
    }
  }

  private play(bytes: number) {
    while (bytes > 0 && this.waiting.length > 0) {
      const chunk = this.waiting[0];
      const part = chunk.audio.subarray(0, bytes);
      this.played.push(part);
      bytes -= part.length;
      chunk.offset += part.length;
      chunk.audio = chunk.audio.subarray(part.length);
      if (chunk.audio.length === 0) this.waiting.shift();
    }
  }

  /** Drops what was not played, and says how far the item was. */
  private stopPlaying() {
    const [cut] = this.waiting.splice(0);
    if (!cut) return;
    const audioEnd = durationFromMs(Math.round(cut.offset / ANSWER_BYTES_PER_MS));
    const value = { itemId: cut.itemId, audioEnd };
    this.outbox.push({ eventId: "truncate", event: { case: "conversationItemTruncate", value } });
  }

  private isOver(allSaid: boolean) {
    const quietMs = Date.now() - this.heardAt;
    if (allSaid && quietMs > PATIENCE_MS) throw new ConnectError("the server has fallen silent", Code.DeadlineExceeded);
    return allSaid && this.unfinished.size === 0 && this.waiting.length === 0 && quietMs > QUIET_MS;
  }
}

/** STATUS REASON: message, as far as they are known. */
function line(error: unknown) {
  if (!(error instanceof ConnectError)) return error instanceof Error ? error.message : String(error);
  const status = Code[error.code].replace(/\B[A-Z]/g, "_$&").toUpperCase();
  return [status, ...error.findDetails(ErrorInfoSchema).map((info) => info.reason)].join(" ") + `: ${error.rawMessage}`;
}

try {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { output: { type: "string", short: "o" }, language: { type: "string" }, clock: { type: "boolean" } },
  });
  const [target, question] = positionals;
  if (!target || !question || !values.output)
    throw new Error("usage: talk HOST:PORT QUESTION.wav -o ANSWER.wav [--language en] [--clock]");
  const conversation = new Conversation(readWav(question), values.language, values.clock);
  const agent = createClient(VoiceAgentService, createGrpcTransport({ baseUrl: `http://${target}` }));
  for await (const event of agent.converse(conversation.requests())) conversation.handle(event);
  if (conversation.played.length === 0) throw new Error("there was no answer");
  writeWav(values.output, { sampleRate: ANSWER_HZ, samples: Buffer.concat(conversation.played) });
} catch (error) {
  console.error(`talk: ${line(error)}`);
  process.exit(1);
}
