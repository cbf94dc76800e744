// The page: joins the session, the sound and the captions.

import { Captions } from "./captions.js";
import { Session, token } from "./session.js";
import { fromBase64, listen, openSound, Speaker } from "./sound.js";

const $ = (id) => document.getElementById(id);
const captions = new Captions($("captions"));
let talk = null; // the conversation that is going on

class Conversation {
  #session;
  #sound;
  #speaker;
  #stream;
  #said = new Map(); // of each item: pieces of its text, with the seconds of its audio at which they are said
  #answers = new Map(); // the item that each response says
  #answering = null;

  constructor(stream, sound) {
    this.#stream = stream;
    this.#sound = sound;
    this.#speaker = new Speaker(sound.context, () => this.#showSaid());
    if (stream) listen(sound, (frame) => this.#session.sendAudio(frame));
    this.#session = new Session({
      "session.created": () => this.configure(),
      "session.updated": () => say(stream ? "Listening." : "Write something."),
      "input_audio_buffer.speech_started": () => this.#stopPlaying(),
      "parley.input_audio_transcription.updated": ({ item_id, transcript }) =>
        captions.show(item_id, "user", transcript, false),
      "conversation.item.input_audio_transcription.completed": ({ item_id, transcript }) =>
        captions.show(item_id, "user", transcript, true),
      "response.created": ({ response }) => {
        this.#answering = response.id;
        $("interrupt").disabled = false;
      },
      "response.output_item.added": ({ response_id, item }) => this.#answers.set(response_id, item.id),
      "response.output_audio_transcript.delta": ({ item_id, delta }) => this.#write(item_id, delta),
      "response.output_audio.delta": ({ item_id, delta }) => this.#speaker.play(item_id, fromBase64(delta)),
      "response.output_audio_transcript.done": ({ item_id, transcript }) => this.#finish(item_id, transcript),
      "response.done": ({ response }) => this.#ended(response),
      "parley.turn_timings": ({ response_id, stages_ms }) => captions.time(this.#answers.get(response_id), stages_ms),
      error: ({ error }) => notice(error.message),
      closed: (code) => end(code === 1000 || code === 1005 ? "" : "The connection has ended. Press Talk to begin again."),
    });
  }

  /** Tells the server what the user has chosen. */
  configure() {
    const rate = this.#sound.context.sampleRate;
    const output = { format: { type: "audio/pcm", rate } };
    if ($("voice").value) output.voice = $("voice").value;
    const input = { format: { type: "audio/pcm", rate }, turn_detection: { type: "server_vad" } };
    if ($("language").value) input.transcription = { language: $("language").value };
    const session = { type: "realtime", audio: { input, output } };
    if ($("instructions").value.trim()) session.instructions = $("instructions").value;
    this.#session.send("session.update", { session });
  }

  write(text) {
    const item = { id: `written_${crypto.randomUUID().slice(0, 8)}`, type: "message", role: "user" };
    item.content = [{ type: "input_text", text }];
    captions.show(item.id, "user", text, true);
    this.#session.send("conversation.item.create", { item });
    this.#session.send("response.create");
  }

  interrupt() {
    if (!this.#answering) return;
    this.#stopPlaying();
    this.#session.send("response.cancel");
  }

  close() {
    this.#session.close();
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#sound.context.close();
  }

  #stopPlaying() {
    const cut = this.#speaker.stop();
    if (!cut) return;
    this.#said.delete(cut.item);
    const audio_end_ms = Math.floor(cut.played * 1000);
    this.#session.send("conversation.item.truncate", { item_id: cut.item, content_index: 0, audio_end_ms });
  }

  /** Text goes before the audio that says it: it is shown when that is played. */
  #write(item, text) {
    const pieces = this.#said.get(item) ?? [];
    pieces.push({ text, at: this.#speaker.position(item).given });
    this.#said.set(item, pieces);
    captions.show(item, "assistant", this.#heard(item), false);
  }

  #heard(item) {
    const { played } = this.#speaker.position(item);
    return this.#said.get(item).filter(({ at }) => at <= played).map(({ text }) => text).join("");
  }

  #showSaid() {
    for (const item of this.#said.keys()) captions.show(item, "assistant", this.#heard(item), false);
  }

  #finish(item, transcript) {
    this.#said.delete(item);
    captions.show(item, "assistant", transcript, true);
  }

  #ended({ id, status, output }) {
    if (this.#answering === id) this.#answering = null;
    $("interrupt").disabled = !this.#answering;
    if (status === "cancelled") captions.cut(output.at(-1)?.id);
  }
}

async function begin() {
  notice("");
  say("Connecting …");
  $("talk").disabled = true;
  let stream = null;
  try {
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    stream = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    notice(withoutMicrophone(error));
  }
  talk = new Conversation(stream, await openSound(stream));
  $("talk").disabled = false;
  $("talk").setAttribute("aria-pressed", "true");
  $("talk").textContent = "Stop";
  $("words").disabled = false;
  if (!stream) $("words").focus();
}

function end(why) {
  talk?.close();
  talk = null;
  if (why) notice(why);
  say("Ready when you are.");
  $("talk").setAttribute("aria-pressed", "false");
  $("talk").textContent = "Talk";
  $("interrupt").disabled = $("words").disabled = true;
}

function withoutMicrophone(error) {
  if (!navigator.mediaDevices) return "Browsers give their microphone to https and localhost pages alone. You can write.";
  if (error.name === "NotAllowedError") return "This page may not use the microphone: allow it in the browser. You can write.";
  return "No microphone was found. You can write.";
}

function say(text) {
  $("status").textContent = text;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

async function offerVoices() {
  const answer = await fetch("v1/voices", token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  if (!answer.ok) return;
  for (const { name, languages } of (await answer.json()).voices) {
    $("voice").append(new Option(languages.length ? `${name} (${languages.join(", ")})` : name, name));
  }
}

$("talk").addEventListener("click", () => (talk ? end("") : begin()));
$("interrupt").addEventListener("click", () => talk?.interrupt());
document.addEventListener("keydown", ({ key }) => key === "Escape" && talk?.interrupt());
$("writing").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("words").value.trim();
  if (text) talk?.write(text);
  $("words").value = "";
});
$("choices").addEventListener("submit", (event) => {
  event.preventDefault();
  talk?.configure();
  $("settings").open = false;
});
offerVoices();
