import type { DocumentParameter } from "@aws-sdk/client-ssm";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Textarea from "@cloudscape-design/components/textarea";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { Failure } from "../../ui/Failure";
import { commandQuery, documentQuery, documentsQuery, send } from "./queries";
import { type Chosen, parametersOf, targetsOf } from "./sending";
import { ChooseTargets, PlanOf } from "./targets";

const FIRST = "AWS-RunShellScript";

export function RunPage() {
  const [search] = useSearchParams();
  const navigate = useNavigate();
  const like = useQuery({
    ...commandQuery(search.get("like") ?? ""),
    enabled: search.has("like"),
    refetchInterval: false,
  });
  const [name, setName] = useState(search.get("document") ?? FIRST);
  const [typed, setTyped] = useState<Record<string, string>>({});
  const [chosen, setChosen] = useState<Chosen>({ kind: "nodes", ids: search.getAll("node"), tags: "" });
  const [rest, setRest] = useState({ Comment: "", MaxConcurrency: "", MaxErrors: "", TimeoutSeconds: "" });
  const document = useQuery(documentQuery(name));
  const targets = targetsOf(chosen);
  const parameters = parametersOf(document.data?.Parameters ?? [], typed);
  const missing = (document.data?.Parameters ?? []).some(
    ({ Name = "", DefaultValue }) => DefaultValue === undefined && !parameters[Name],
  );

  useEffect(() => {
    if (!like.data) return;
    setName(like.data.DocumentName ?? FIRST);
    setTyped(
      Object.fromEntries(Object.entries(like.data.Parameters ?? {}).map(([key, values]) => [key, values.join("\n")])),
    );
    if (like.data.InstanceIds?.length) setChosen({ kind: "nodes", ids: like.data.InstanceIds, tags: "" });
  }, [like.data]);

  const work = useMutation({
    mutationFn: () => {
      const { TimeoutSeconds, ...texts } = rest;
      return send({
        DocumentName: name,
        Parameters: parameters,
        ...targets,
        ...Object.fromEntries(Object.entries(texts).filter(([, value]) => value)),
        ...(TimeoutSeconds && { TimeoutSeconds: Number(TimeoutSeconds) }),
      });
    },
    onSuccess: (commandId) => navigate(`/commands/${commandId}`),
  });
  const field = (label: string, key: keyof typeof rest, description: string) => (
    <FormField label={label} description={description}>
      <Input value={rest[key]} onChange={({ detail }) => setRest({ ...rest, [key]: detail.value })} />
    </FormField>
  );

  return (
    <ContentLayout header={<Header variant="h1">Run a command</Header>}>
      <SpaceBetween size="l">
        <Container header={<Header variant="h2">What</Header>}>
          <SpaceBetween size="l">
            <ChooseDocument name={name} change={setName} description={document.data?.Description} />
            <Failure error={document.error} />
            {document.data?.Parameters?.map((parameter) => (
              <Parameter
                key={parameter.Name}
                parameter={parameter}
                value={typed[parameter.Name ?? ""] ?? parameter.DefaultValue ?? ""}
                change={(value) => setTyped({ ...typed, [parameter.Name ?? ""]: value })}
              />
            ))}
          </SpaceBetween>
        </Container>
        <Container header={<Header variant="h2">Where</Header>}>
          <SpaceBetween size="l">
            <ChooseTargets chosen={chosen} change={setChosen} />
            {document.data && !missing && <PlanOf document={name} parameters={parameters} targets={targets} />}
          </SpaceBetween>
        </Container>
        <ExpandableSection variant="container" headerText="How">
          <ColumnLayout columns={2}>
            {field("Comment", "Comment", "Shown in the list of commands")}
            {field("Delivered within", "TimeoutSeconds", "Seconds, 30 to 2592000; an hour if left out")}
            {field("Nodes at once", "MaxConcurrency", "A number or a percentage such as 10%; 50 if left out")}
            {field("Errors tolerated", "MaxErrors", "A number or a percentage; none if left out")}
          </ColumnLayout>
        </ExpandableSection>
        <Failure error={work.error} />
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={() => navigate(-1)}>
              Cancel
            </Button>
            <Button
              variant="primary"
              disabled={!targets || !document.data || missing}
              loading={work.isPending}
              onClick={() => work.mutate()}
            >
              Run
            </Button>
          </SpaceBetween>
        </Box>
      </SpaceBetween>
    </ContentLayout>
  );
}

type ChooseProps = { name: string; change: (name: string) => void; description?: string };

function ChooseDocument({ name, change, description }: ChooseProps) {
  const [prefix, setPrefix] = useState("");
  const found = useQuery(documentsQuery(prefix));
  return (
    <FormField label="Document" description={description} stretch>
      <Select
        selectedOption={{ value: name, label: name }}
        options={(found.data ?? []).map((each) => ({
          value: each.Name,
          label: each.Name,
          description: each.PlatformTypes?.join(", "),
        }))}
        filteringType="manual"
        filteringPlaceholder="Beginning of a name"
        filteringAriaLabel="Find documents"
        onLoadItems={({ detail }) => setPrefix(detail.filteringText)}
        statusType={found.isPending ? "loading" : found.error ? "error" : "finished"}
        empty="No document begins so"
        onChange={({ detail }) => change(detail.selectedOption.value ?? name)}
      />
    </FormField>
  );
}

type ParameterProps = { parameter: DocumentParameter; value: string; change: (value: string) => void };

function Parameter({ parameter, value, change }: ParameterProps) {
  const { Name, Type, Description, DefaultValue } = parameter;
  return (
    <FormField
      label={
        <>
          {Name} {DefaultValue !== undefined && <i>– optional</i>}
        </>
      }
      description={Description}
      stretch
    >
      {Type === "StringList" ? (
        <Textarea
          value={value}
          rows={Name === "commands" ? 8 : 2}
          spellcheck={false}
          placeholder="One on each line"
          onChange={({ detail }) => change(detail.value)}
        />
      ) : (
        <Input value={value} spellcheck={false} onChange={({ detail }) => change(detail.value)} />
      )}
    </FormField>
  );
}
