/** What goes wrong, told so that somebody can do something about it. */
import { config } from "./config";

/** An error that the server answered to one of its own operations. SDK clients throw errors of the same members. */
export class ServerError extends Error {
  constructor(
    override readonly name: string,
    message: string,
    readonly members: Record<string, unknown> = {},
    readonly requestId?: string,
  ) {
    super(message);
  }
}

/** Codes with which the server says that the credentials are no longer good. */
const ENDED = new Set([
  "ExpiredTokenException",
  "ExpiredToken",
  "UnrecognizedClientException",
  "InvalidClientTokenId",
  "InvalidSignatureException",
  "SignatureDoesNotMatch",
]);

export type Told = { kind: "ended" | "refused" | "unreachable" | "failed"; title: string; text: string; code?: string };

export function codeOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

export function credentialsEnded(error: unknown): boolean {
  return ENDED.has(codeOf(error));
}

/** A title and a sentence for what was thrown. */
export function told(error: unknown): Told {
  const code = codeOf(error);
  const text = error instanceof Error ? error.message : String(error);
  if (credentialsEnded(error)) return { kind: "ended", title: "Your sign-in has ended", text, code };
  if (/^AccessDenied|NotAuthorized|UnauthorizedOperation/.test(code))
    return { kind: "refused", title: "You are not allowed to do this", text, code };
  if (code === "TypeError" || code === "AbortError" || code === "TimeoutError" || code === "NetworkingError")
    return {
      kind: "unreachable",
      title: "The server cannot be reached",
      text: `${location.host} did not answer. Is it running, and does this machine reach it? (${text})`,
    };
  return { kind: "failed", title: code || "Something went wrong", text: text || `Server ${config().version}`, code };
}
