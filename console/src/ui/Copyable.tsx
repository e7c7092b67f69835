import CopyToClipboard from "@cloudscape-design/components/copy-to-clipboard";
import "./copyable.css";

/** An id or the like, with a button that copies it. */
export function Copyable({ text }: { text?: string }) {
  if (!text) return <>–</>;
  return (
    <CopyToClipboard
      variant="inline"
      textToCopy={text}
      copyButtonAriaLabel={`Copy ${text}`}
      copySuccessText="Copied"
      copyErrorText="Could not copy"
    />
  );
}

/** Lines to paste into a shell. */
export function Lines({ text, label }: { text: string; label: string }) {
  return (
    <section className="lines" aria-label={label}>
      <pre>{text}</pre>
      <CopyToClipboard
        variant="icon"
        textToCopy={text}
        copyButtonAriaLabel={`Copy ${label.toLowerCase()}`}
        copySuccessText="Copied"
        copyErrorText="Could not copy"
      />
    </section>
  );
}
