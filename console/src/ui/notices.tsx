/** Notices at the top of the page: what was done, and what went wrong in the background. */
import type { FlashbarProps } from "@cloudscape-design/components/flashbar";
import { useSyncExternalStore } from "react";
import { told } from "../aws/errors";

type Notice = FlashbarProps.MessageDefinition & { id: string };

let notices: Notice[] = [];
let count = 0;
const listeners = new Set<() => void>();

function set(next: Notice[]): void {
  notices = next;
  for (const listener of listeners) listener();
}

const dismiss = (id: string) => set(notices.filter((each) => each.id !== id));

export function say(type: "success" | "info" | "warning" | "error", header: string, content = ""): void {
  count += 1;
  const id = `notice-${count}`;
  set([
    ...notices.slice(-3),
    {
      id,
      type,
      header,
      content,
      dismissible: true,
      dismissLabel: "Dismiss",
      onDismiss: () => dismiss(id),
      statusIconAriaLabel: type,
    },
  ]);
  if (type === "success") setTimeout(() => dismiss(id), 6000);
}

export function sayFailed(what: string, error: unknown): void {
  const { title, text } = told(error);
  say("error", `${what}: ${title}`, text);
}

export const useNotices = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => notices,
  );
