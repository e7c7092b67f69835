import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useEffect, useState } from "react";
import { signedIn, signOut, useSignedIn } from "../../aws/signedIn";
import { useNow } from "../../ui/Time";
import { SignInForm } from "./SignInForm";

const WARN_BEFORE = 5 * 60_000;
const listeners = new Set<() => void>();

/** The server no longer takes the credentials: ask for them anew, over whatever is shown. */
export function askToSignInAgain(): void {
  for (const listener of listeners) listener();
}

/** What somebody sees whose credentials end: the page stays, and goes on after they signed in again. */
export function EndingSignIn() {
  const present = useSignedIn();
  const now = useNow();
  const [refused, setRefused] = useState(false);
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    const listener = () => setRefused(true);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  useEffect(() => {
    if (!present) return;
    setRefused(false);
    setAsked(false);
  }, [present]);
  const left = (present?.credentials.endsAt ?? Number.POSITIVE_INFINITY) - now;
  const ended = refused || left <= 0;
  if (!present || (!ended && left > WARN_BEFORE)) return null;
  if (!ended && !asked) {
    return (
      <Alert
        type="warning"
        header="Your sign-in ends soon"
        action={<Button onClick={() => setAsked(true)}>Sign in again</Button>}
      >
        In {Math.max(1, Math.ceil(left / 60_000))} minutes. Sign in again to go on where you are.
      </Alert>
    );
  }
  return (
    <Modal
      visible
      header="Sign in again"
      closeAriaLabel="Close"
      onDismiss={() => (ended ? signOut() : setAsked(false))}
    >
      <SpaceBetween size="m">
        <span>
          {ended ? "Your sign-in has ended. " : ""}Sign in to go on where you are; closing this{" "}
          {ended ? "signs you out" : "changes nothing"}.
        </span>
        <SignInForm again={signedIn()?.way} />
      </SpaceBetween>
    </Modal>
  );
}
