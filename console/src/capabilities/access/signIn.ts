/** The ways to sign in, each ending in credentials. */
import { clientSettings, unsigned } from "../../aws/clients";
import { config } from "../../aws/config";
import { type Credentials, region, type SignedIn, signIn } from "../../aws/signedIn";

const HOURS = 8;

type ToldCredentials = {
  AccessKeyId: string;
  SecretAccessKey: string;
  SessionToken: string;
  Expiration: number | string;
};
type Answer = { Credentials: ToldCredentials; Arn: string; AccountId: string };

function credentialsOf(said: ToldCredentials): Credentials {
  const ends = typeof said.Expiration === "number" ? said.Expiration * 1000 : Date.parse(said.Expiration);
  return {
    accessKeyId: said.AccessKeyId,
    secretAccessKey: said.SecretAccessKey,
    sessionToken: said.SessionToken,
    endsAt: ends,
  };
}

export type Person = { account: string; userName: string; password: string; tokenCode?: string; newPassword?: string };

/** With name and password. Throws MfaRequiredException and PasswordChangeRequiredException where more is needed. */
export async function signInByPassword({ account, userName, password, tokenCode, newPassword }: Person): Promise<void> {
  const answer = await unsigned<Answer>("/ph/v1/sign-in", {
    UserName: userName,
    Password: password,
    DurationSeconds: HOURS * 3600,
    ...(account && { Account: account }),
    ...(tokenCode && { TokenCode: tokenCode }),
    ...(newPassword && { NewPassword: newPassword }),
  });
  signIn({
    credentials: credentialsOf(answer.Credentials),
    arn: answer.Arn,
    accountId: answer.AccountId,
    way: { kind: "password", account, userName },
  });
}

/** With an access key. The key itself stays in memory; over reloads goes a session made from it. */
export async function signInByKey(credentials: Credentials): Promise<void> {
  const { STSClient, GetCallerIdentityCommand, GetSessionTokenCommand } = await import("@aws-sdk/client-sts");
  const sts = new STSClient({ ...clientSettings(credentials), region: region() });
  const who = await sts.send(new GetCallerIdentityCommand({}));
  const signedIn: SignedIn = {
    credentials,
    arn: who.Arn ?? "",
    accountId: who.Account ?? "",
    way: { kind: "key", accessKeyId: credentials.accessKeyId },
  };
  if (credentials.sessionToken) {
    // Nothing tells when it ends: the server will, and a session of a session there is none.
    return signIn(signedIn);
  }
  const made = await sts.send(new GetSessionTokenCommand({})).catch(() => undefined);
  const session = made?.Credentials;
  signIn(
    signedIn,
    session?.AccessKeyId && session.SecretAccessKey && session.SessionToken && session.Expiration
      ? {
          ...signedIn,
          credentials: {
            accessKeyId: session.AccessKeyId,
            secretAccessKey: session.SecretAccessKey,
            sessionToken: session.SessionToken,
            endsAt: session.Expiration.getTime(),
          },
        }
      : undefined,
  );
}

/** On a server that takes made-up keys. */
export function signInForDevelopment(): void {
  const accountId = config().dev?.accountId ?? "000000000000";
  signIn({
    credentials: { accessKeyId: accountId, secretAccessKey: "test" },
    arn: `arn:aws:iam::${accountId}:root`,
    accountId,
    way: { kind: "dev" },
  });
}

export async function providersOf(account: string): Promise<string[]> {
  const answer = await unsigned<{ Providers?: (string | { Name: string })[] }>(
    "/ph/v1/sign-in/options",
    account ? { Account: account } : {},
  );
  return (answer.Providers ?? []).map((each) => (typeof each === "string" ? each : each.Name));
}

const BEGUN = "pilothouse.sign-in";
type Begun = { account: string; provider: string; state: string; pending: string; back: string };

/** Go to the identity provider; it sends the browser back to /console/sign-in. */
export async function beginAtProvider(account: string, provider: string): Promise<void> {
  const redirect = `${location.origin}/console/sign-in`;
  const answer = await unsigned<{ AuthorizationUrl: string; State: string; Pending: string }>("/ph/v1/sign-in/begin", {
    Provider: provider,
    RedirectUri: redirect,
    ...(account && { Account: account }),
  });
  const back = location.pathname + location.search;
  const begun: Begun = { account, provider, state: answer.State, pending: answer.Pending, back };
  sessionStorage.setItem(BEGUN, JSON.stringify(begun));
  location.assign(answer.AuthorizationUrl);
}

/** Back from the identity provider: the place to go on at, or nothing if this is no return. */
export async function completeAtProvider(): Promise<string | undefined> {
  const said = new URLSearchParams(location.search);
  const text = sessionStorage.getItem(BEGUN);
  if (location.pathname !== "/console/sign-in" || !said.has("state") || !text) return undefined;
  sessionStorage.removeItem(BEGUN);
  history.replaceState(null, "", "/console/sign-in"); // the code leaves the address before anything else happens
  const begun: Begun = JSON.parse(text);
  const code = said.get("code");
  if (!code)
    throw new Error(said.get("error_description") ?? said.get("error") ?? "The identity provider sent no code.");
  const answer = await unsigned<Answer>("/ph/v1/sign-in/complete", {
    Pending: begun.pending,
    State: said.get("state"),
    Code: code,
    DurationSeconds: 3600,
  });
  signIn({
    credentials: credentialsOf(answer.Credentials),
    arn: answer.Arn,
    accountId: answer.AccountId,
    way: { kind: "provider", account: begun.account, provider: begun.provider },
  });
  return begun.back.startsWith("/console/sign-in") ? "/console/" : begun.back;
}
