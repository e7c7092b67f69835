/** What was recorded of sessions: asciicasts, read in pieces, and where a text stands in which of them. */
import { queryOptions } from "@tanstack/react-query";
import { pilothouse } from "../../aws/clients";
import type { Page } from "../../ui/ResourceTable";

type Piece = { Recorded: boolean; Header: string; Data?: string; NextOffset: number; Size: number; Complete: boolean };

/** Whole recordings are played up to this many bytes; what comes after is left out, and said to be. */
const MOST = 32 << 20;

async function piece(sessionId: string, offset: number, signal?: AbortSignal) {
  const found = await pilothouse<Piece>("GetSessionRecording", { SessionId: sessionId, Offset: offset }, signal);
  const bytes = Uint8Array.from(atob(found.Data ?? ""), (each) => each.charCodeAt(0));
  return { ...found, lines: new TextDecoder().decode(bytes) };
}

export type Cast = { text: string; cut: boolean; recorded: boolean };

export const recordingQuery = (sessionId: string) =>
  queryOptions({
    queryKey: ["sessions", "recording", sessionId],
    queryFn: async ({ signal }): Promise<Cast> => {
      const parts: string[] = [];
      for (let offset = 0; ; ) {
        const found = await piece(sessionId, offset, signal);
        if (!offset) parts.push(`${found.Header}\n`);
        parts.push(found.lines);
        const goesOn = found.NextOffset > offset && found.NextOffset < found.Size;
        offset = found.NextOffset;
        if (!goesOn || offset >= MOST) return { text: parts.join(""), cut: goesOn, recorded: offset > 0 };
      }
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

export type Match = {
  SessionId: string;
  Target: string;
  Owner: string;
  StartDate: number;
  Seconds: number;
  Line: string;
};

export async function search(asked: { text: string; token?: string; size: number }): Promise<Page<Match>> {
  const answer = await pilothouse<{ Matches?: Match[]; NextToken?: string }>("SearchSessionRecordings", {
    Text: asked.text,
    MaxResults: asked.size,
    ...(asked.token && { NextToken: asked.token }),
  });
  return { items: answer.Matches ?? [], next: answer.NextToken };
}
