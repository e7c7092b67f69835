import { expect, test } from "vitest";
import { plainText } from "./plainText";

test("colours and titles are left out", () => {
  expect(plainText("\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain")).toBe("red plain");
});

test("lines stay, other control characters are shown", () => {
  expect(plainText("a\r\nb\tc\n\x00\x1b\x7f")).toBe("a\nb\tc\n\u2400\u241b\u2421");
});

test("marks that reorder text are shown as what they are not", () => {
  expect(plainText("safe\u202etxt.exe")).toBe("safe\ufffdtxt.exe");
});
