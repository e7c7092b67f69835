import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { config } from "../../aws/config";
import { codeOf, told } from "../../aws/errors";
import type { Way } from "../../aws/signedIn";
import { beginAtProvider, providersOf, signInByKey, signInByPassword, signInForDevelopment } from "./signIn";

/** `again`: how somebody signed in before, where this asks for it a second time. */
export function SignInForm({ again }: { again?: Way }) {
  const [kind, setKind] = useState(again?.kind === "key" ? "key" : "person");
  return (
    <SpaceBetween size="l">
      {config().dev && <ForDevelopment />}
      <SegmentedControl
        label="How to sign in"
        selectedId={kind}
        onChange={({ detail }) => setKind(detail.selectedId)}
        options={[
          { id: "person", text: "User" },
          { id: "key", text: "Access key" },
        ]}
      />
      {kind === "key" ? <ByKey again={again} /> : <ByPassword again={again} />}
    </SpaceBetween>
  );
}

function ForDevelopment() {
  return (
    <Alert
      type="info"
      header="This server is for development"
      action={<Button onClick={signInForDevelopment}>Enter</Button>}
    >
      It takes made-up keys, from this machine only: one click signs you in as the administrator of account{" "}
      {config().dev?.accountId}.
    </Alert>
  );
}

function Submitting({ perform, pending, lacks, error, word, children }: SubmittingProps) {
  const [tried, setTried] = useState(false);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setTried(true);
        if (!pending && !lacks) perform();
      }}
    >
      <SpaceBetween size="m">
        {children}
        <div aria-live="polite">{tried && lacks ? <Alert type="error">{lacks}</Alert> : error}</div>
        <Button variant="primary" formAction="submit" fullWidth loading={pending} loadingText="Signing in">
          {word}
        </Button>
      </SpaceBetween>
    </form>
  );
}

type SubmittingProps = {
  perform: () => void;
  pending: boolean;
  /** What is still to be entered; empty when all is there. */
  lacks: string;
  error: ReactNode;
  word: string;
  children: ReactNode;
};

/** Codes that ask for one thing more. */
const ASKS = new Set(["MfaRequiredException", "PasswordChangeRequiredException"]);

function ByPassword({ again }: { again?: Way }) {
  const before = again?.kind === "password" ? again : undefined;
  const [account, setAccount] = useState(before?.account ?? (again?.kind === "provider" ? again.account : ""));
  const [userName, setUserName] = useState(before?.userName ?? "");
  const [password, setPassword] = useState("");
  const [tokenCode, setTokenCode] = useState("");
  const [newPassword, setNewPassword] = useState("");
  const [asked, setAsked] = useState<string[]>([]);
  const providers = useQuery({
    queryKey: ["sign-in providers", account],
    queryFn: () => providersOf(account),
    retry: false,
    staleTime: 60_000,
  });
  const atProvider = useMutation({ mutationFn: (provider: string) => beginAtProvider(account, provider) });
  const work = useMutation({
    mutationFn: () => signInByPassword({ account, userName, password, tokenCode, newPassword }),
    onError: (error) => ASKS.has(codeOf(error)) && setAsked((before) => [...new Set([...before, codeOf(error)])]),
  });
  const failed = work.error && !ASKS.has(codeOf(work.error)) ? work.error : atProvider.error;
  const field = (label: string, control: ReactNode, description?: string) => (
    <FormField label={label} description={description} stretch>
      {control}
    </FormField>
  );
  return (
    <SpaceBetween size="m">
      <Submitting
        perform={() => work.mutate()}
        pending={work.isPending}
        lacks={userName && password ? "" : "Enter your user name and your password."}
        word="Sign in"
        error={failed && <Refused error={failed} />}
      >
        {field(
          "User name",
          <Input
            value={userName}
            autoFocus={!before}
            autoComplete="username"
            onChange={({ detail }) => setUserName(detail.value)}
          />,
        )}
        {field(
          "Password",
          <Input
            type="password"
            value={password}
            autoFocus={Boolean(before)}
            autoComplete="current-password"
            onChange={({ detail }) => setPassword(detail.value)}
          />,
        )}
        {asked.includes("MfaRequiredException") &&
          field(
            "Code",
            <Input
              value={tokenCode}
              autoFocus
              inputMode="numeric"
              autoComplete="one-time-code"
              onChange={({ detail }) => setTokenCode(detail.value)}
            />,
            "Of your authenticator app",
          )}
        {asked.includes("PasswordChangeRequiredException") &&
          field(
            "New password",
            <Input
              type="password"
              value={newPassword}
              autoFocus
              autoComplete="new-password"
              onChange={({ detail }) => setNewPassword(detail.value)}
            />,
            "The present one has to be changed now",
          )}
        <ExpandableSection headerText="Another account" defaultExpanded={Boolean(account)}>
          {field(
            "Account",
            <Input
              value={account}
              placeholder="The first account"
              onChange={({ detail }) => setAccount(detail.value)}
            />,
            "Its number, alias or name",
          )}
        </ExpandableSection>
      </Submitting>
      {providers.data?.map((provider) => (
        <Button key={provider} fullWidth loading={atProvider.isPending} onClick={() => atProvider.mutate(provider)}>
          Sign in with {provider}
        </Button>
      ))}
    </SpaceBetween>
  );
}

function ByKey({ again }: { again?: Way }) {
  const [accessKeyId, setAccessKeyId] = useState(again?.kind === "key" ? again.accessKeyId : "");
  const [secretAccessKey, setSecretAccessKey] = useState("");
  const [sessionToken, setSessionToken] = useState("");
  const work = useMutation({
    mutationFn: () =>
      signInByKey({
        accessKeyId: accessKeyId.trim(),
        secretAccessKey: secretAccessKey.trim(),
        ...(sessionToken.trim() && { sessionToken: sessionToken.trim() }),
      }),
  });
  return (
    <Submitting
      perform={() => work.mutate()}
      pending={work.isPending}
      lacks={accessKeyId.trim() && secretAccessKey.trim() ? "" : "Enter an access key ID and its secret."}
      word="Sign in"
      error={work.error && <Refused error={work.error} />}
    >
      <FormField label="Access key ID" stretch>
        <Input
          value={accessKeyId}
          autoFocus
          autoComplete="username"
          spellcheck={false}
          onChange={({ detail }) => setAccessKeyId(detail.value)}
        />
      </FormField>
      <FormField label="Secret access key" stretch constraintText="Kept in this tab's memory only, and never stored.">
        <Input
          type="password"
          value={secretAccessKey}
          autoComplete="off"
          onChange={({ detail }) => setSecretAccessKey(detail.value)}
        />
      </FormField>
      <ExpandableSection headerText="Session token">
        <FormField label="Session token" description="Of temporary credentials" stretch>
          <Input
            type="password"
            value={sessionToken}
            autoComplete="off"
            onChange={({ detail }) => setSessionToken(detail.value)}
          />
        </FormField>
      </ExpandableSection>
    </Submitting>
  );
}

function Refused({ error }: { error: unknown }) {
  const { kind, title, text } = told(error);
  const header =
    kind === "ended"
      ? "This key is not good here"
      : codeOf(error) === "SignInRefusedException"
        ? "That did not fit"
        : title;
  return (
    <Alert type="error" header={header}>
      {text}
    </Alert>
  );
}
