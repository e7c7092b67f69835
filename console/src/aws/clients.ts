/** The console is a client as any other: the AWS SDK, signing here in the browser, against the server it came from. */
import { Sha256 } from "@aws-crypto/sha256-browser";
import { SSMClient } from "@aws-sdk/client-ssm";
import { SignatureV4 } from "@smithy/signature-v4";
import { ServerError } from "./errors";
import { type Credentials, region, signedIn, signedInVersion } from "./signedIn";

function present(): Credentials {
  const found = signedIn();
  if (!found) throw new ServerError("ExpiredTokenException", "Nobody is signed in.");
  return found.credentials;
}

const forSigning = ({ accessKeyId, secretAccessKey, sessionToken }: Credentials) => ({
  accessKeyId,
  secretAccessKey,
  sessionToken,
});

/** What every SDK client is made with. */
export const clientSettings = (credentials = present()) => ({
  endpoint: location.origin,
  region: region(),
  credentials: forSigning(credentials),
  maxAttempts: 3,
});

let made: { version: number; ssm: SSMClient } | undefined;

/** The client for Systems Manager of who is signed in, in the region that is chosen. */
export function ssm(): SSMClient {
  if (made?.version !== signedInVersion()) made = { version: signedInVersion(), ssm: new SSMClient(clientSettings()) };
  return made.ssm;
}

type Sent = {
  method: string;
  path: string;
  query?: Record<string, string | string[]>;
  headers: Record<string, string>;
  body?: string;
};

/** Send a request of the service `pilothouse`, signed. */
async function signed(sent: Sent, signal?: AbortSignal): Promise<Response> {
  const signer = new SignatureV4({
    service: "pilothouse",
    region: region(),
    credentials: forSigning(present()),
    sha256: Sha256,
  });
  const request = await signer.sign({
    ...sent,
    protocol: location.protocol,
    hostname: location.hostname,
    headers: { ...sent.headers, host: location.host },
    query: sent.query ?? {},
  });
  const { host: _, ...headers } = request.headers;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(sent.query ?? {}))
    for (const each of [value].flat()) query.append(name, each);
  const url = query.size ? `${sent.path}?${query.toString().replaceAll("+", "%20")}` : sent.path;
  return fetch(url, { method: sent.method, headers, body: sent.body, signal, cache: "no-store" });
}

async function failure(answer: Response): Promise<ServerError> {
  const requestId = answer.headers.get("x-amzn-requestid") ?? undefined;
  const text = await answer.text();
  try {
    const members = JSON.parse(text);
    const code = String(members.__type ?? "").replace(/^.*#/, "");
    return new ServerError(
      code || `HTTP ${answer.status}`,
      String(members.message ?? members.Message ?? ""),
      members,
      requestId,
    );
  } catch {
    return new ServerError(`HTTP ${answer.status}`, text.slice(0, 500), {}, requestId);
  }
}

/** Call an operation of our own service, such as PlanCommand. */
export async function pilothouse<Answer>(operation: string, input: object, signal?: AbortSignal): Promise<Answer> {
  const answer = await signed(
    {
      method: "POST",
      path: "/",
      headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": `Pilothouse.${operation}` },
      body: JSON.stringify(input),
    },
    signal,
  );
  if (!answer.ok) throw await failure(answer);
  return answer.json();
}

/** GET a path of our own service, signed. The answer is good, or this throws. */
export async function pilothouseGet(
  path: string,
  query: Record<string, string | string[]> = {},
  signal?: AbortSignal,
): Promise<Response> {
  const answer = await signed({ method: "GET", path, query, headers: {} }, signal);
  if (!answer.ok) throw await failure(answer);
  return answer;
}

/** Call one of the few operations that nobody needs to be signed in for. */
export async function unsigned<Answer>(path: string, input: object): Promise<Answer> {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(input),
    cache: "no-store",
  });
  if (!answer.ok) throw await failure(answer);
  return answer.json();
}
