import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Multiselect from "@cloudscape-design/components/multiselect";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { told } from "../../aws/errors";
import { nodeName, readNodes } from "../nodes/queries";
import { plan, type Wanted } from "./queries";
import type { Chosen, Targets } from "./sending";

export function ChooseTargets({ chosen, change }: { chosen: Chosen; change: (chosen: Chosen) => void }) {
  return (
    <SpaceBetween size="m">
      <SegmentedControl
        label="Which nodes"
        selectedId={chosen.kind}
        onChange={({ detail }) => change({ ...chosen, kind: detail.selectedId as Chosen["kind"] })}
        options={[
          { id: "nodes", text: "Chosen nodes" },
          { id: "tags", text: "Nodes with tags" },
          { id: "all", text: "All nodes" },
        ]}
      />
      {chosen.kind === "nodes" && <ChooseNodes ids={chosen.ids} change={(ids) => change({ ...chosen, ids })} />}
      {chosen.kind === "tags" && (
        <FormField
          label="Tags"
          description="Such as Env=Prod|Test, Role=web: all of them must fit, of one any value. A key alone fits every value."
          stretch
        >
          <Input
            value={chosen.tags}
            placeholder="Env=Prod"
            spellcheck={false}
            onChange={({ detail }) => change({ ...chosen, tags: detail.value })}
          />
        </FormField>
      )}
    </SpaceBetween>
  );
}

function ChooseNodes({ ids, change }: { ids: string[]; change: (ids: string[]) => void }) {
  const found = useQuery({
    queryKey: ["nodes", "to choose"],
    queryFn: () => readNodes({ filters: [], size: 50 }),
    staleTime: 10_000,
  });
  const options = (found.data?.items ?? []).map((node) => ({
    value: node.InstanceId,
    label: nodeName(node),
    description: `${node.InstanceId} · ${node.PingStatus === "Online" ? "Online" : "Connection lost"}`,
  }));
  return (
    <FormField label="Nodes" description="Up to 50" stretch>
      <Multiselect
        selectedOptions={ids.map((id) => options.find((each) => each.value === id) ?? { value: id, label: id })}
        options={options}
        filteringType="auto"
        filteringAriaLabel="Find nodes"
        placeholder="Choose nodes"
        statusType={found.isPending ? "loading" : found.error ? "error" : "finished"}
        errorText={found.error ? told(found.error).title : undefined}
        empty="No nodes yet"
        onChange={({ detail }) => change(detail.selectedOptions.map((each) => each.value ?? ""))}
      />
    </FormField>
  );
}

/** Who would get the command. */
export function PlanOf({ document, parameters, targets }: PlanProps) {
  const wanted = useSettled(targets && { DocumentName: document, Parameters: parameters, ...targets });
  const { data, error, isFetching } = useQuery({
    queryKey: ["commands", "plan", wanted],
    queryFn: ({ signal }) => (wanted ? plan(wanted, signal) : null),
    enabled: Boolean(wanted),
    retry: false,
    staleTime: 10_000,
    placeholderData: keepPreviousData,
  });
  if (!targets) return null;
  if (error) return <StatusIndicator type="info">{told(error).text}</StatusIndicator>;
  if (!data) return <StatusIndicator type="loading">{isFetching ? "Looking who would get it" : "…"}</StatusIndicator>;
  const notNow = data.Nodes.filter(({ Outcome }) => Outcome !== "Runs");
  return (
    <SpaceBetween size="xxs">
      <StatusIndicator type={data.TargetCount ? "info" : "warning"}>
        {data.TargetCount === 1 ? "1 node gets it" : `${data.TargetCount} nodes get it`}
        {data.TargetCount > data.AtOnce ? `, ${data.AtOnce} at once` : ""}
      </StatusIndicator>
      {notNow.slice(0, 5).map((node) => (
        <StatusIndicator key={node.InstanceId} type={node.Outcome === "Waits" ? "pending" : "warning"}>
          {node.InstanceName || node.InstanceId}: {node.Reason ?? node.Outcome}
        </StatusIndicator>
      ))}
    </SpaceBetween>
  );
}

type PlanProps = { document: string; parameters: Record<string, string[]>; targets?: Targets };

/** What was wanted half a second ago: nobody needs an answer for each key. */
function useSettled(wanted: Wanted | undefined): Wanted | undefined {
  const text = JSON.stringify(wanted);
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), 500);
    return () => clearTimeout(timer);
  }, [text]);
  return settled === undefined ? undefined : JSON.parse(settled);
}
