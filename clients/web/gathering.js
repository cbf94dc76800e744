// Which audio goes up at once, and which waits for company: as the Python client does, see parley_client/gathering.py.

const GATHERED_FRAMES = 10; // a fifth of a second, which is as much as the server looks at while nobody speaks

/** From the beginning of the user's voice to the end of the answer each frame goes at once. */
export class Gathering {
  #waiting = [];
  #utterance = null;
  #response = null;

  /** An event has come. */
  see({ type, item_id, response }) {
    switch (type) {
      case "input_audio_buffer.speech_started":
        this.#utterance = item_id;
        break;
      case "conversation.item.input_audio_transcription.completed":
      case "conversation.item.input_audio_transcription.failed":
        if (item_id === this.#utterance) this.#utterance = null;
        break;
      case "response.created":
        this.#response = response.id;
        break;
      case "response.done":
        if (response.id === this.#response) this.#response = null;
    }
  }

  /** Takes a frame (Int16Array); returns the samples that are to be sent now, or null. */
  add(frame) {
    this.#waiting.push(frame);
    if (!this.#utterance && !this.#response && this.#waiting.length < GATHERED_FRAMES) return null;
    const samples = new Int16Array(this.#waiting.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of this.#waiting.splice(0)) {
      samples.set(part, at);
      at += part.length;
    }
    return samples;
  }
}
