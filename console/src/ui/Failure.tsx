import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import { told } from "../aws/errors";

/** What went wrong and what to do, in place of what could not be shown. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  if (!error) return null;
  const { kind, title, text, code } = told(error);
  return (
    <Alert
      type={kind === "refused" || kind === "ended" ? "warning" : "error"}
      header={title}
      action={retry && <Button onClick={retry}>Try again</Button>}
    >
      {text}
      {kind === "refused" &&
        " Ask whoever manages your account's policies; pilothouse explain tells them what is missing."}
      {code && code !== title && kind !== "unreachable" ? ` (${code})` : ""}
    </Alert>
  );
}
