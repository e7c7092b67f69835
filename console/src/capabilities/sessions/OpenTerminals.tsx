import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Select from "@cloudscape-design/components/select";
import Tabs from "@cloudscape-design/components/tabs";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Confirm } from "../../ui/Confirm";
import { Failure } from "../../ui/Failure";
import { sayFailed } from "../../ui/notices";
import { Nothing } from "../../ui/ResourceTable";
import { nodeName, readNodes } from "../nodes/queries";
import { activate, closeTerminal, type OpenTerminal, openTerminal, useTerminals } from "./terminals";
import "./terminals.css";

const WORDS = {
  connecting: "Connecting",
  connected: "Connected",
  waiting: "Waiting for the node",
  reconnecting: "Connection lost, trying again",
  ended: "Ended",
};

export function OpenTerminals({ shown }: { shown: boolean }) {
  const { list, active } = useTerminals();
  const [choosing, setChoosing] = useState(false);
  const [closing, setClosing] = useState<OpenTerminal>();
  const rest = useRestOfWindow();
  const present = list.find((each) => each.key === active);
  const close = (terminal: OpenTerminal) =>
    terminal.state === "ended" || terminal.part === "joined" ? closeTerminal(terminal.key) : setClosing(terminal);
  if (!shown) return null;
  return (
    <section id="terminals" aria-label="Terminals" ref={rest}>
      <h1 className="unseen">Terminals</h1>
      <div className="terminals-bar">
        {list.length > 0 && (
          <Tabs
            ariaLabel="Open terminals"
            variant="default"
            disableContentPaddings
            activeTabId={active}
            onChange={({ detail }) => activate(detail.activeTabId)}
            tabs={list.map((each) => ({
              id: each.key,
              label: (
                <span className="terminals-tab">
                  <span className={`terminals-dot ${each.state}`} role="img" aria-label={WORDS[each.state]} />
                  {each.title}
                </span>
              ),
              dismissible: true,
              dismissLabel: `Close the terminal on ${each.title}`,
              onDismiss: () => close(each),
            }))}
          />
        )}
        <div className="terminals-new">
          <Button
            variant="icon"
            iconName="add-plus"
            ariaLabel="Open another terminal"
            onClick={() => setChoosing(true)}
          />
        </div>
      </div>
      {present ? (
        <Screen key={present.key} terminal={present} />
      ) : (
        <Nothing title="No terminal is open">
          <span>
            A terminal runs in this page, on any node that is connected. It stays open while you look at other pages.
          </span>
          <Button variant="primary" onClick={() => setChoosing(true)}>
            Open a terminal
          </Button>
        </Nothing>
      )}
      {choosing && <ChooseNode close={() => setChoosing(false)} />}
      {closing && (
        <Confirm
          header={`End the session on ${closing.title}?`}
          act="End it"
          close={() => setClosing(undefined)}
          perform={() =>
            closeTerminal(closing.key).catch((error) => sayFailed("The session could not be ended", error))
          }
        >
          What runs in it is ended as well.
        </Confirm>
      )}
    </section>
  );
}

function Screen({ terminal }: { terminal: OpenTerminal }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    terminal.show(element);
    const watching = new ResizeObserver(() => terminal.fit());
    watching.observe(element);
    return () => watching.disconnect();
  }, [terminal]);
  return (
    <>
      <div className="terminals-screen" ref={host} data-state={terminal.state} />
      <div className="terminals-foot">
        <span aria-live="polite">
          <span className={`terminals-dot ${terminal.state}`} aria-hidden="true" /> {WORDS[terminal.state]}
          {terminal.reason && `: ${terminal.reason}`}
        </span>
        <span className="terminals-keys">
          Copy <kbd>Ctrl Shift C</kbd> · Paste <kbd>Ctrl Shift V</kbd> · Leave the terminal <kbd>Ctrl Shift ↑</kbd>
        </span>
        <span className="mono">{terminal.sessionId}</span>
        {terminal.state === "ended" && terminal.part === "own" && (
          <Button
            onClick={() => {
              void closeTerminal(terminal.key);
              openTerminal(terminal.nodeId, terminal.title);
            }}
          >
            Connect again
          </Button>
        )}
      </div>
    </>
  );
}

function ChooseNode({ close }: { close: () => void }) {
  const [chosen, setChosen] = useState<{ value?: string; label?: string }>();
  const [reason, setReason] = useState("");
  const found = useQuery({
    queryKey: ["nodes", "online"],
    queryFn: () => readNodes({ filters: [{ key: "PingStatus", value: "Online" }], size: 50 }),
    refetchInterval: 5_000,
  });
  const options = (found.data?.items ?? []).map((node) => ({
    value: node.InstanceId,
    label: nodeName(node),
    description: node.InstanceId,
  }));
  return (
    <Confirm
      header="Open a terminal"
      act="Connect"
      ready={Boolean(chosen?.value)}
      close={close}
      perform={async () => openTerminal(chosen?.value ?? "", chosen?.label ?? "", reason)}
    >
      <Failure error={found.error} />
      <FormField label="Node" description="The first 50 that are online; the list of nodes has them all" stretch>
        <Select
          autoFocus
          selectedOption={chosen ?? null}
          options={options}
          placeholder="Choose a node"
          filteringType="auto"
          filteringAriaLabel="Find nodes"
          empty="No node is online now"
          statusType={found.isPending ? "loading" : "finished"}
          onChange={({ detail }) => setChosen(detail.selectedOption)}
        />
      </FormField>
      <FormField label="Reason" description="Optional; stands in the history of sessions" stretch>
        <Input value={reason} onChange={({ detail }) => setReason(detail.value)} />
      </FormField>
    </Confirm>
  );
}

/** Down to the lower edge of the window, from wherever the page's head ends. */
function useRestOfWindow() {
  const [element, setElement] = useState<HTMLElement | null>(null);
  useEffect(() => {
    if (!element) return;
    const stretch = () => {
      const top = element.getBoundingClientRect().top + scrollY;
      element.style.height = `calc(100dvh - ${Math.round(top)}px)`;
    };
    const watching = new ResizeObserver(stretch);
    watching.observe(document.body);
    stretch();
    return () => watching.disconnect();
  }, [element]);
  return setElement;
}
