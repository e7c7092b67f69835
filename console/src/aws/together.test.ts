import { expect, test } from "vitest";
import { together } from "./together";

test("what is asked at the same time is one question, in parts of the size that there may be", async () => {
  const asked: string[][] = [];
  const one = together(
    async (ids) => {
      asked.push(ids);
      return new Map(ids.filter((id) => id !== "c").map((id) => [id, id.toUpperCase()]));
    },
    2,
    1,
  );
  expect(await Promise.all(["a", "b", "a", "c"].map(one))).toEqual(["A", "B", "A", undefined]);
  expect(asked).toEqual([["a", "b"], ["c"]]);
  expect(await one("d")).toBe("D");
  expect(asked.length).toBe(3);
});

test("a question that fails fails for all who asked it", async () => {
  const one = together<string>(async () => Promise.reject(new Error("no")), 9, 1);
  await expect(Promise.all([one("a"), one("b")])).rejects.toThrow("no");
});
