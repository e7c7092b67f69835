import {
  CreateDocumentCommand,
  DescribeDocumentCommand,
  DescribeSessionsCommand,
  GetDocumentCommand,
  ResumeSessionCommand,
  type Session,
  type SessionFilter,
  type SessionState,
  StartSessionCommand,
  TerminateSessionCommand,
  UpdateDocumentCommand,
  UpdateDocumentDefaultVersionCommand,
} from "@aws-sdk/client-ssm";
import { queryOptions } from "@tanstack/react-query";
import { pilothouse, ssm } from "../../aws/clients";
import { codeOf } from "../../aws/errors";
import type { Filter, Page } from "../../ui/ResourceTable";
import type { Ticket } from "./link";

type Asked = { filters: Filter[]; token?: string; size: number };

export async function readSessions(state: SessionState, { filters, token, size }: Asked): Promise<Page<Session>> {
  const answer = await ssm().send(
    new DescribeSessionsCommand({
      State: state,
      Filters: filters.length ? filters.map(({ key, value }) => ({ key, value }) as SessionFilter) : undefined,
      MaxResults: size,
      NextToken: token,
    }),
  );
  return { items: answer.Sessions ?? [], next: answer.NextToken };
}

export const sessionQuery = (sessionId: string) =>
  queryOptions({
    queryKey: ["sessions", "one", sessionId],
    queryFn: async (): Promise<Session | null> => {
      const asked = { filters: [{ key: "SessionId", value: sessionId }], size: 5 };
      return (await readSessions("Active", asked)).items[0] ?? (await readSessions("History", asked)).items[0] ?? null;
    },
  });

const ticketOf = (answer: { SessionId?: string; TokenValue?: string }): Ticket => ({
  sessionId: answer.SessionId ?? "",
  token: answer.TokenValue ?? "",
});

export const start = async (nodeId: string, reason: string) =>
  ticketOf(await ssm().send(new StartSessionCommand({ Target: nodeId, ...(reason && { Reason: reason }) })));

/** Nothing where the session has ended. */
export async function resume(sessionId: string): Promise<Ticket | undefined> {
  const ticket = ticketOf(await ssm().send(new ResumeSessionCommand({ SessionId: sessionId })));
  return ticket.token ? ticket : undefined;
}

/** A way into a session that is somebody else's: to look on, or to type in it as well. */
export const view = async (sessionId: string, mode: "watch" | "join"): Promise<Ticket> => {
  const answer = await pilothouse<{ TokenValue: string }>("OpenSessionView", { SessionId: sessionId, Mode: mode });
  return { sessionId, token: answer.TokenValue };
};

export const terminate = (sessionId: string) => ssm().send(new TerminateSessionCommand({ SessionId: sessionId }));

const DOCUMENT = "SSM-SessionManagerRunShell";

export type Preferences = {
  s3BucketName: string;
  s3KeyPrefix: string;
  s3EncryptionEnabled: boolean;
  cloudWatchLogGroupName: string;
  cloudWatchEncryptionEnabled: boolean;
  cloudWatchStreamingEnabled: boolean;
  kmsKeyId: string;
  runAsEnabled: boolean;
  runAsDefaultUser: string;
  idleSessionTimeout: string;
  maxSessionDuration: string;
  shellProfile: { linux: string; windows: string };
};

export const DEFAULTS: Preferences = {
  s3BucketName: "",
  s3KeyPrefix: "",
  s3EncryptionEnabled: true,
  cloudWatchLogGroupName: "",
  cloudWatchEncryptionEnabled: true,
  cloudWatchStreamingEnabled: true,
  kmsKeyId: "",
  runAsEnabled: false,
  runAsDefaultUser: "",
  idleSessionTimeout: "20",
  maxSessionDuration: "",
  shellProfile: { linux: "", windows: "" },
};

type Stored = { schemaVersion: string; description: string; sessionType: string; inputs: Partial<Preferences> };

/** The account's preferences, and the document that holds them, if it has one of its own. */
export const preferencesQuery = queryOptions({
  queryKey: ["sessions", "preferences"],
  queryFn: async (): Promise<{ stored?: Stored; preferences: Preferences }> => {
    const described = await ssm().send(new DescribeDocumentCommand({ Name: DOCUMENT }));
    const answer = await ssm().send(new GetDocumentCommand({ Name: DOCUMENT, DocumentFormat: "JSON" }));
    const found: Stored = JSON.parse(answer.Content ?? "{}");
    const preferences = { ...DEFAULTS, ...found.inputs };
    return {
      stored: described.Document?.Owner === "Amazon" ? undefined : found,
      preferences: { ...preferences, shellProfile: { ...DEFAULTS.shellProfile, ...preferences.shellProfile } },
    };
  },
});

export async function writePreferences(stored: Stored | undefined, preferences: Preferences): Promise<void> {
  const content: Stored = {
    schemaVersion: "1.0",
    description: "Preferences of sessions",
    sessionType: "Standard_Stream",
    ...stored,
    inputs: { ...stored?.inputs, ...preferences },
  };
  const document = { Name: DOCUMENT, Content: JSON.stringify(content, null, 2), DocumentFormat: "JSON" as const };
  if (!stored) {
    await ssm().send(new CreateDocumentCommand({ ...document, DocumentType: "Session" }));
    return;
  }
  try {
    const answer = await ssm().send(new UpdateDocumentCommand({ ...document, DocumentVersion: "$LATEST" }));
    const version = answer.DocumentDescription?.DocumentVersion;
    if (version)
      await ssm().send(new UpdateDocumentDefaultVersionCommand({ Name: DOCUMENT, DocumentVersion: version }));
  } catch (error) {
    if (codeOf(error) !== "DuplicateDocumentContent") throw error; // nothing was changed
  }
}
