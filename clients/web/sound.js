// The microphone and the loudspeaker.

const RATE_HZ = 24000;

/** Opens an audio context of the protocol's rate, or of the device's own where the browser wants that for its microphone. */
export async function openSound(stream) {
  let context = new AudioContext({ sampleRate: RATE_HZ });
  let source = null;
  if (stream) {
    try {
      source = context.createMediaStreamSource(stream);
    } catch {
      await context.close();
      context = new AudioContext();
      source = context.createMediaStreamSource(stream);
    }
  }
  await context.audioWorklet.addModule("audio-worklet.js");
  return { context, source };
}

/** Calls `onFrame` with 20 ms of samples (Int16Array) at a time. */
export function listen({ context, source }, onFrame) {
  const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => onFrame(data);
  source.connect(node);
}

/**
 * Plays what it is given without a gap, and stops at once. Positions are seconds of an item's own audio; `onPlayed` is
 * called as they move on.
 */
export class Speaker {
  #node;
  #rate;
  #onPlayed;
  #given = 0; // samples, of all items
  #played = 0;
  #skipped = 0; // of those given: dropped unplayed
  #item = null;
  #began = new Map(); // samples given before each item

  constructor(context, onPlayed) {
    this.#rate = context.sampleRate;
    this.#onPlayed = onPlayed;
    this.#node = new AudioWorkletNode(context, "speaker", { numberOfInputs: 0, outputChannelCount: [1] });
    this.#node.connect(context.destination);
    this.#node.port.onmessage = ({ data }) => {
      this.#played = data + this.#skipped;
      this.#onPlayed();
    };
  }

  /** Plays this (Int16Array) once what came before has been played. */
  play(item, samples) {
    this.#item = item;
    if (!this.#began.has(item)) this.#began.set(item, this.#given);
    this.#given += samples.length;
    this.#node.port.postMessage(Float32Array.from(samples, (sample) => sample / 32768));
  }

  /** Seconds of this item that have been given so far, and those of it that have been played. */
  position(item) {
    if (!this.#began.has(item)) return { given: 0, played: -1 };
    const began = this.#began.get(item);
    return { given: (this.#given - began) / this.#rate, played: (this.#played - began) / this.#rate };
  }

  get playing() {
    return this.#played < this.#given;
  }

  /** Stops at once; says which item was cut off, and after how many seconds of it. Null where nothing was playing. */
  stop() {
    if (!this.playing) return null;
    const cut = { item: this.#item, played: Math.max(0, this.position(this.#item).played) };
    this.#node.port.postMessage("stop");
    this.#skipped += this.#given - this.#played;
    this.#played = this.#given;
    return cut;
  }
}

/** Samples as base64 of little-endian 16-bit numbers. */
export function toBase64(samples) {
  return btoa(String.fromCharCode(...new Uint8Array(samples.buffer)));
}

export function fromBase64(text) {
  return new Int16Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}
