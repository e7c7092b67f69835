/**
 * The open terminals of this tab. They live outside the pages, so that looking at other pages leaves them open, and
 * their sessions' ids are kept, so that a reload attaches to them again.
 */
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { useSyncExternalStore } from "react";
import { codeOf, told } from "../../aws/errors";
import { onSignedInChange, region, signedIn } from "../../aws/signedIn";
import { appearance } from "./appearance";
import { type Link, open, type Ticket } from "./link";
import { resume, start, terminate, view } from "./queries";

export type State = "connecting" | "connected" | "waiting" | "reconnecting" | "ended";
/** Whether the session is this terminal's own, or somebody else's in which one types as well. */
export type Part = "own" | "joined";

const KEPT = "pilothouse.terminals";
/** What empties a terminal, in its turn among what is written to it. */
const CLEAR = "\x1bc";
/** Waits before each try to attach again, in milliseconds; the last one goes on. */
const WAITS = [300, 1_000, 2_000, 5_000, 10_000];

export class OpenTerminal {
  state: State = "connecting";
  reason = "";
  sessionId = "";
  readonly element = document.createElement("div");
  readonly term = new Terminal(appearance());
  readonly search = new SearchAddon();
  private readonly fitting = new FitAddon();
  private link?: Link;
  private tries = 0;
  private waiting?: ReturnType<typeof setTimeout>;
  private opened = false;
  private disposed = false;
  /** Bytes that are still to come of what was shown before. */
  private replay = 0;
  private mute = 0;

  constructor(
    readonly key: string,
    readonly nodeId: string,
    readonly title: string,
    readonly part: Part,
    private readonly changed: () => void,
  ) {
    this.element.className = "terminal";
    this.term.loadAddon(this.fitting);
    this.term.loadAddon(this.search);
    this.term.loadAddon(new Unicode11Addon());
    this.term.unicode.activeVersion = "11";
    this.term.onData((text) => !this.mute && this.link?.send(text));
    this.term.onBinary((text) => this.link?.sendBytes(Uint8Array.from(text, (each) => each.charCodeAt(0))));
    this.term.onResize(() => this.tellSize());
    this.term.attachCustomKeyEventHandler((event) => this.takes(event));
  }

  /** Keys that are the console's and not the node's. */
  private takes(event: KeyboardEvent): boolean {
    if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
    if (event.code === "KeyC") {
      if (this.term.hasSelection()) navigator.clipboard.writeText(this.term.getSelection());
      event.preventDefault();
      return false;
    }
    if (event.code === "ArrowUp") {
      document.querySelector<HTMLElement>(".terminals-bar button[aria-expanded=true]")?.focus();
      return false;
    }
    return event.code !== "KeyV" && event.code !== "KeyF"; // the browser pastes, and the page looks for a text
  }

  /** Stand in the page. */
  show(host: HTMLElement): void {
    host.replaceChildren(this.element);
    if (!this.opened) {
      this.opened = true;
      this.term.open(this.element);
    }
    this.fit();
    this.term.focus();
  }

  fit(): void {
    if (this.part === "own" && this.element.isConnected && this.element.clientHeight > 0) this.fitting.fit();
  }

  private set(state: State, reason = ""): void {
    this.state = state;
    this.reason = reason;
    this.term.options.disableStdin = state !== "connected" && state !== "waiting"; // what waits, the gateway keeps
    this.changed();
  }

  /** Begin a session, and show it. */
  begin(reason: string): Promise<void> {
    return this.attach(() => start(this.nodeId, reason));
  }

  /** Show a session that goes on. */
  again(sessionId: string): Promise<void> {
    this.sessionId = sessionId;
    return this.attach(() => (this.part === "own" ? resume(sessionId) : view(sessionId, "join")));
  }

  private async attach(ticketOf: () => Promise<Ticket | undefined>): Promise<void> {
    clearTimeout(this.waiting);
    let ticket: Ticket | undefined;
    try {
      ticket = await ticketOf();
    } catch (error) {
      if (this.sessionId && told(error).kind === "unreachable") return this.lost();
      const over = codeOf(error) === "DoesNotExistException";
      return this.set("ended", over ? "" : told(error).text || told(error).title);
    }
    if (!ticket) return this.set("ended");
    if (this.disposed) {
      if (this.part === "own") await terminate(ticket.sessionId); // somebody closed it before it was there
      return;
    }
    this.sessionId = ticket.sessionId;
    this.changed();
    this.link = open(ticket, this.term.cols, this.term.rows, {
      opened: (replay) => {
        this.tries = 0;
        this.replay = replay;
        this.term.write(CLEAR); // what was shown before comes again
        this.set("connected");
        this.tellSize();
      },
      bytes: (bytes) => this.write(bytes),
      state: (connected) => this.set(connected ? "connected" : "waiting"),
      size: (cols, rows) => this.part === "joined" && this.term.resize(cols, rows),
      ended: (reason) => this.set("ended", reason),
      lost: () => this.lost(),
    });
  }

  /** A program's old questions to the terminal are not answered again: the answers would be typed. */
  private write(bytes: Uint8Array): void {
    const old = this.replay > 0;
    if (!old && this.state === "waiting") this.set("connected");
    this.replay -= bytes.length;
    if (old) this.mute += 1;
    this.term.write(bytes, () => {
      if (old) this.mute -= 1;
    });
  }

  private tellSize(): void {
    if (this.part === "own") this.link?.size(this.term.cols, this.term.rows);
  }

  private lost(): void {
    if (this.state === "ended") return;
    this.set("reconnecting");
    const wait = WAITS[Math.min(this.tries, WAITS.length - 1)];
    this.tries += 1;
    this.waiting = setTimeout(() => this.again(this.sessionId), wait);
  }

  /** Leave the page; the session goes on unless it is terminated. */
  dispose(): void {
    clearTimeout(this.waiting);
    this.disposed = true;
    this.state = "ended";
    this.link?.close();
    this.term.dispose();
    this.element.remove();
  }
}

type Shown = { list: readonly OpenTerminal[]; active: string };

let shown: Shown = { list: [], active: "" };
let count = 0;
const listeners = new Set<() => void>();

function set(next: Partial<Shown>): void {
  shown = { ...shown, ...next };
  const kept = shown.list.filter((each) => each.sessionId && each.state !== "ended");
  const what = kept.map(({ sessionId, nodeId, title, part }) => ({ sessionId, nodeId, title, part }));
  const active = kept.findIndex((each) => each.key === shown.active);
  if (what.length) sessionStorage.setItem(KEPT, JSON.stringify({ whose: whose(), what, active }));
  else sessionStorage.removeItem(KEPT);
  for (const listener of listeners) listener();
}

const whose = () => `${signedIn()?.arn} ${region()}`;

function made(nodeId: string, title: string, part: Part): OpenTerminal {
  count += 1;
  const terminal = new OpenTerminal(`terminal-${count}`, nodeId, title, part, () => set({ list: [...shown.list] }));
  set({ list: [...shown.list, terminal], active: terminal.key });
  return terminal;
}

/** A session on the node, in a terminal of its own. */
export function openTerminal(nodeId: string, title: string, reason = ""): void {
  void made(nodeId, title, "own").begin(reason);
}

/** A session that somebody else drives, in a terminal that types in it as well. */
export function joinSession(sessionId: string, nodeId: string, title: string): void {
  void made(nodeId, title, "joined").again(sessionId);
}

export const activate = (key: string) => set({ active: key });

export async function closeTerminal(key: string): Promise<void> {
  const closing = shown.list.find((each) => each.key === key);
  if (!closing) return;
  const at = shown.list.indexOf(closing);
  const list = shown.list.filter((each) => each !== closing);
  const goesOn = closing.part === "own" && closing.sessionId && closing.state !== "ended";
  closing.dispose();
  set({ list, active: key === shown.active ? (list[Math.max(0, at - 1)]?.key ?? "") : shown.active });
  if (goesOn) await terminate(closing.sessionId);
}

/** Attach to what was open before a reload. */
function takeUp(): void {
  const text = sessionStorage.getItem(KEPT);
  if (!text || !signedIn() || shown.list.length) return;
  const kept: {
    whose: string;
    what: { sessionId: string; nodeId: string; title: string; part: Part }[];
    active: number;
  } = JSON.parse(text);
  if (kept.whose !== whose()) {
    sessionStorage.removeItem(KEPT);
    return;
  }
  const taken = kept.what.map(({ sessionId, nodeId, title, part }) => {
    const terminal = made(nodeId, title, part);
    terminal.sessionId = sessionId;
    void terminal.again(sessionId);
    return terminal;
  });
  set({ active: taken[Math.max(0, kept.active)]?.key ?? "" });
}

let before = "";

// Somebody else, or another region: the terminals are not theirs. Sessions go on until they are idle for too long.
function look(): void {
  if (whose() === before) return;
  before = whose();
  for (const each of shown.list) each.dispose();
  shown = { list: [], active: "" };
  if (signedIn()) takeUp();
  else sessionStorage.removeItem(KEPT);
  for (const listener of listeners) listener();
}

onSignedInChange(look);
look();

export const useTerminals = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => shown,
  );
