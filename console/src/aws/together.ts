/** Questions about single things that come at the same time, asked as one. */
export function together<Answer>(
  ask: (ids: string[]) => Promise<Map<string, Answer>>,
  most: number,
  within = 30,
): (id: string) => Promise<Answer | undefined> {
  let waiting = new Map<string, { answer: (found: Answer | undefined) => void; fail: (error: unknown) => void }[]>();
  const send = async () => {
    const asked = waiting;
    waiting = new Map();
    const ids = [...asked.keys()];
    for (let start = 0; start < ids.length; start += most) {
      const part = ids.slice(start, start + most);
      try {
        const found = await ask(part);
        for (const id of part) for (const each of asked.get(id) ?? []) each.answer(found.get(id));
      } catch (error) {
        for (const id of part) for (const each of asked.get(id) ?? []) each.fail(error);
      }
    }
  };
  return (id) =>
    new Promise((answer, fail) => {
      if (!waiting.size) setTimeout(send, within);
      waiting.set(id, [...(waiting.get(id) ?? []), { answer, fail }]);
    });
}
