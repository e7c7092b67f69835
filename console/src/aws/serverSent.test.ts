import { expect, test } from "vitest";
import { eventOf, serverSent } from "./serverSent";

test("an event has a name, data of several lines, and an id", () => {
  expect(eventOf("id: 7\nevent: output\ndata: a\ndata:b")).toEqual({ id: "7", event: "output", data: "a\nb" });
  expect(eventOf(": a comment")).toBeUndefined();
});

test("events are told apart however the bytes come", async () => {
  const bytes = new TextEncoder().encode("event: output\ndata: ä\n\n: still there\n\ndata: b\n\n");
  for (let size = 1; size < bytes.length; size += 3) {
    const pieces = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const found = [];
    for await (const { event, data } of serverSent(new Response(pieces))) found.push([event, data]);
    expect(found).toEqual([
      ["output", "ä"],
      ["message", "b"],
    ]);
  }
});
