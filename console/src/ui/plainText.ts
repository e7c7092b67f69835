/** What programs on nodes write, as text that cannot play tricks: no colours, and nothing that hides or reorders. */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const SEQUENCES = /\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export function plainText(text: string): string {
  return text
    .replace(/\r+\n/g, "\n")
    .replace(SEQUENCES, "")
    .replace(HIDDEN, (found) => {
      const code = found.charCodeAt(0);
      if (code === 0x7f) return "\u2421";
      return code < 0x20 ? String.fromCharCode(0x2400 + code) : "\ufffd";
    });
}
