// The model's own words after a call that found nothing: guesses, to the end of their clause.
// The same rule as lacy/cascade/unconfirmed.py; a test holds the two equal.

const END = /(?:(?<!\b[A-Z])\.|[;:!?])\s$|,\s[^\d\s]$|[\n)\]}]$/u;
const TAIL = 4; // characters that END looks back on

export class Unconfirmed {
  constructor() {
    this.open = false;
    this.tail = "";
  }

  /** Cuts a span, or the next piece of one, into [text, whether it is a guess]. */
  split(span) {
    if (span.speaker !== "slm") this.open = false;
    else if (span.asked) [this.open, this.tail] = [true, ""];
    if (!this.open) return [[span.text, false]];
    let place = 0;
    for (const character of span.text) {
      this.tail = [...this.tail, character].slice(-TAIL).join("");
      if (END.test(this.tail)) {
        this.open = false;
        return [[span.text.slice(0, place), true], [span.text.slice(place), false]].filter(([text]) => text);
      }
      place += character.length;
    }
    return [[span.text, true]];
  }
}
