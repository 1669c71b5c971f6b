// Finds guesses: what the model writes after a call that found nothing, up to the end of the clause.
// The rule is the same as in lacy/cascade/guesses.py; a test compares the two.

const END = /(?:(?<!\b[A-Z])\.|[;:!?])\s$|,\s[^\d\s]$|[\n)\]}]$/u;
const TAIL = 4; // number of characters that END examines

export class GuessTracker {
  constructor() {
    this.open = false;
    this.tail = "";
  }

  /** Splits the next span, or the next part of one, into pairs [text, true if it is a guess]. */
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
