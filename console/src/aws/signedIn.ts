/**
 * Who is signed in, and with which credentials.
 *
 * They live in this tab's memory. What ends by itself is kept in sessionStorage too, so that a reload goes on where it
 * was, terminals above all; the browser drops that with the tab. A lasting secret key is never stored: a session made
 * from it is. Other tabs of this browser may ask for the session, so that one sign-in is enough for all of them.
 */
import { useSyncExternalStore } from "react";
import { config } from "./config";

export type Credentials = {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  /** Milliseconds since 1970; lasting keys have none. */
  endsAt?: number;
};

/** How somebody signed in, to offer the same way again. */
export type Way =
  | { kind: "password"; account: string; userName: string }
  | { kind: "provider"; account: string; provider: string }
  | { kind: "key"; accessKeyId: string }
  | { kind: "dev" };

export type SignedIn = { credentials: Credentials; arn: string; accountId: string; way: Way };

const KEPT = "pilothouse.signed-in";
const REGION = "pilothouse.region";
const REGIONS = "pilothouse.regions";

let present: SignedIn | undefined;
/** What others may have of it: nothing that lasts. */
let kept: SignedIn | undefined;
let version = 0;
const listeners = new Set<() => void>();
const others = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel("pilothouse.signed-in");

type Said = { ask: true } | { give: SignedIn } | { out: true };

function changed(): void {
  version += 1;
  for (const listener of listeners) listener();
}

const lives = (signedIn: SignedIn) => (signedIn.credentials.endsAt ?? Number.POSITIVE_INFINITY) > Date.now();

/** `toKeep`: the session of the same user to go on with after a reload, where `signedIn` holds a lasting key. */
export function signIn(signedIn: SignedIn, toKeep?: SignedIn): void {
  present = signedIn;
  kept = toKeep ?? (signedIn.credentials.endsAt || signedIn.way.kind === "dev" ? signedIn : undefined);
  if (kept) sessionStorage.setItem(KEPT, JSON.stringify(kept));
  else sessionStorage.removeItem(KEPT);
  changed();
}

function forget(): void {
  present = undefined;
  kept = undefined;
  sessionStorage.removeItem(KEPT);
  changed();
}

/** Here, and in every other tab. */
export function signOut(): void {
  forget();
  others?.postMessage({ out: true } satisfies Said);
}

export const signedIn = (): SignedIn | undefined => present;

/** Changes whenever clients must be made anew. */
export const signedInVersion = (): number => version;

export function onSignedInChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useSignedIn = () => useSyncExternalStore(onSignedInChange, signedIn);

if (others) {
  others.onmessage = ({ data }: MessageEvent<Said>) => {
    if ("ask" in data && kept && lives(kept)) others.postMessage({ give: kept } satisfies Said);
    else if ("give" in data && !present && lives(data.give)) signIn(data.give);
    else if ("out" in data && present) forget();
  };
}

/** At the start: what this tab kept over a reload, else what another tab has. */
export async function takeUp(): Promise<void> {
  const text = sessionStorage.getItem(KEPT);
  if (text) {
    const found: SignedIn = JSON.parse(text);
    if (lives(found)) return signIn(found);
    sessionStorage.removeItem(KEPT);
  }
  if (!others) return;
  others.postMessage({ ask: true } satisfies Said);
  await new Promise<void>((resolve) => {
    const stop = onSignedInChange(done);
    const timer = setTimeout(done, 150);
    function done() {
      stop();
      clearTimeout(timer);
      resolve();
    }
  });
}

/** The region is no secret, and stays over sign-ins. */
export const region = (): string => localStorage.getItem(REGION) || config().region;

export function regions(): string[] {
  const seen: string[] = JSON.parse(localStorage.getItem(REGIONS) ?? "[]");
  return [...new Set([region(), config().region, ...seen])].sort();
}

export function chooseRegion(name: string): void {
  localStorage.setItem(REGION, name);
  localStorage.setItem(REGIONS, JSON.stringify([...new Set([name, ...regions()])].slice(0, 12)));
  changed();
}

export const useRegion = () => useSyncExternalStore(onSignedInChange, region);
