export type ServerSent = { event: string; data: string; id: string };

/** The events of a stream, until it ends. */
export async function* serverSent(answer: Response): AsyncGenerator<ServerSent> {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const found = eventOf(block);
        if (found) yield found;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** One block of lines, as the standard for server-sent events reads it; nothing where there are no data. */
export function eventOf(block: string): ServerSent | undefined {
  const found: ServerSent = { event: "message", data: "", id: "" };
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === "data") data.push(value ?? "");
    else if (name === "event") found.event = value ?? "";
    else if (name === "id") found.id = value ?? "";
  }
  if (!data.length) return undefined;
  found.data = data.join("\n");
  return found;
}
