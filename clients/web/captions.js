// What is said, and where the time of each turn went.

const STAGES = {
  endpointing: "end of speech",
  transcription: "transcription",
  language_model: "language model",
  segmentation: "first sentence",
  synthesis: "speech",
};
const SVG = "http://www.w3.org/2000/svg";

/** The list of captions: one entry for each item of the conversation. */
export class Captions {
  #list;
  #entries = new Map();

  constructor(list) {
    this.#list = list;
  }

  /** Shows an item's words so far. Screen readers read it once it is `done`. */
  show(item, role, text, done) {
    const entry = this.#entry(item, role);
    const following = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 80;
    entry.querySelector("p").textContent = text;
    entry.setAttribute("aria-busy", String(!done));
    entry.hidden = !text.trim() && done;
    if (following) this.#list.scrollTop = this.#list.scrollHeight;
  }

  /** Marks an item as interrupted: it stays to be seen even if none of its words were heard. */
  cut(item) {
    const entry = this.#entries.get(item);
    if (!entry) return;
    entry.hidden = false;
    entry.querySelector("p").classList.add("cut");
  }

  /** Adds the latencies of a turn, in milliseconds for each stage, below the item that was said. */
  time(item, stages) {
    const entry = this.#entries.get(item);
    const total = Object.values(stages).reduce((sum, spent) => sum + spent, 0);
    if (!entry || !total) return;
    entry.append(waterfall(stages, total));
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  #entry(item, role) {
    let entry = this.#entries.get(item);
    if (!entry) {
      entry = document.createElement("li");
      entry.className = role;
      const who = document.createElement("span");
      who.className = "unseen";
      who.textContent = role === "user" ? "You: " : "Parley: ";
      entry.append(who, document.createElement("p"));
      this.#entries.set(item, entry);
      this.#list.append(entry);
    }
    return entry;
  }
}

function waterfall(stages, total) {
  const figure = document.createElement("figure");
  figure.className = "waterfall";
  const title = document.createElement("figcaption");
  const strong = document.createElement("strong");
  strong.textContent = `${Math.round(total)} ms`;
  title.append(strong, " to the first sound of the answer");
  figure.append(title);
  let begun = 0;
  for (const [stage, spent] of Object.entries(stages)) {
    const row = document.createElement("div");
    const [name, amount] = [document.createElement("span"), document.createElement("span")];
    name.textContent = STAGES[stage] ?? stage;
    amount.textContent = `${Math.round(spent)} ms`;
    row.append(name, bar(stage, begun / total, spent / total), amount);
    figure.append(row);
    begun += spent;
  }
  return figure;
}

function bar(stage, from, share) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS(SVG, "rect");
  const fill = `var(--${stage})`;
  Object.entries({ x: `${from * 100}%`, width: `${Math.max(share * 100, 1)}%`, height: "100%", rx: 3, fill }).forEach(
    ([name, value]) => rect.setAttribute(name, value),
  );
  svg.append(rect);
  return svg;
}
