// A conversation of three turns by npm @openai/agents as it comes: spoken, spoken over the answer, written. Prints what
// the session has seen as one line of JSON.
//
//     node talk.mjs ws://HOST:PORT/v1/realtime

import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents/realtime";
import { z } from "zod";

const RATE_HZ = 24000;
const tone = Int16Array.from({ length: RATE_HZ / 10 }, (_, at) => (Math.floor(at / 24) % 2 ? -16000 : 16000)).buffer;
const silence = new Int16Array(RATE_HZ / 10).buffer;
const seen = { turns: [], interruptions: 0, audio: 0, called: [], errors: [] };

const getTime = tool({
  name: "get_time",
  description: "Tells the time.",
  parameters: z.object({}),
  execute: async () => {
    seen.called.push("get_time");
    return "noon";
  },
});
const agent = new RealtimeAgent({ name: "Parley", instructions: "Be brief.", tools: [getTime] });
const session = new RealtimeSession(agent, { transport: "websocket", tracingDisabled: true });

const waiting = [];
function event(name, matches = () => true) {
  return new Promise((resolve) => waiting.push({ name, matches, resolve }));
}
const spoken = ({ response }) => response.status === "completed" && response.output[0].type === "message";
session.on("transport_event", (raw) => {
  for (const wait of waiting.filter(({ name, matches }) => name === raw.type && matches(raw))) {
    waiting.splice(waiting.indexOf(wait), 1);
    wait.resolve(raw);
  }
  if (raw.type === "response.done") seen.turns.push(`${raw.response.status} ${raw.response.output[0]?.type}`);
});
session.on("audio", ({ data }) => (seen.audio += data.byteLength));
session.on("audio_interrupted", () => seen.interruptions++);
session.on("error", ({ error }) => seen.errors.push(String(error?.error?.error?.message ?? error?.message ?? error)));

async function say(seconds) {
  for (let at = 0; at < seconds * 10 + 12; at++) {
    session.sendAudio(at < seconds * 10 ? tone : silence);
    await new Promise((resolve) => setTimeout(resolve, 20)); // five times faster than speech
  }
}

const opened = event("session.updated", ({ session }) => session.tools?.length);
await session.connect({ apiKey: "none", url: process.argv[2] });
await opened;

const answering = event("response.output_audio.delta");
await say(1);
await answering;

const cancelled = event("response.done", ({ response }) => response.status === "cancelled");
const next = event("response.created");
await say(1);
await cancelled;
await next;

await event("response.done", spoken);
const written = event("response.done", spoken);
session.sendMessage("And now?");
await written;

seen.history = session.history.map(({ role, type, content, status }) => ({ role, type, content, status }));
console.log(JSON.stringify(seen));
session.close();
