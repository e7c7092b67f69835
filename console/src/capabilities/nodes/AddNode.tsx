import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import TagEditor, { type TagEditorProps } from "@cloudscape-design/components/tag-editor";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { config } from "../../aws/config";
import { Lines } from "../../ui/Copyable";
import { Failure } from "../../ui/Failure";
import { Link } from "../../ui/links";
import { authorityFingerprint, enrolmentLine } from "./enrolment";
import { createActivation, nodeName, readNodes } from "./queries";

/** An activation, the line to paste, and the nodes as they come. */
export function AddNode({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("PilothouseNode");
  const [limit, setLimit] = useState("1");
  const [days, setDays] = useState("1");
  const [tags, setTags] = useState<readonly TagEditorProps.Tag[]>([]);
  const work = useMutation({
    mutationFn: () =>
      createActivation({
        name,
        role,
        limit: Number(limit),
        days: Number(days),
        tags: tags.map(({ key, value }) => ({ Key: key, Value: value })),
      }),
  });
  return (
    <Modal
      visible
      size="large"
      header="Add nodes"
      closeAriaLabel="Close"
      onDismiss={close}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant={work.data ? "primary" : "link"} onClick={close}>
              {work.data ? "Done" : "Cancel"}
            </Button>
            {!work.data && (
              <Button variant="primary" loading={work.isPending} onClick={() => work.mutate()}>
                Create activation
              </Button>
            )}
          </SpaceBetween>
        </Box>
      }
    >
      {work.data ? (
        <Paste {...work.data} most={Number(limit)} />
      ) : (
        <SpaceBetween size="l">
          <span>
            An activation lets machines register. Its code is shown once; each machine that uses it gets the name, the
            tags and the role.
          </span>
          <ColumnLayout columns={2}>
            <FormField label="Machines" description="1 to 1,000">
              <Input
                type="number"
                inputMode="numeric"
                value={limit}
                onChange={({ detail }) => setLimit(detail.value)}
              />
            </FormField>
            <FormField label="Good for" description="Days, 1 to 30">
              <Input type="number" inputMode="numeric" value={days} onChange={({ detail }) => setDays(detail.value)} />
            </FormField>
            <FormField label="Name" description="Optional; nodes without a name get it">
              <Input value={name} placeholder="web" onChange={({ detail }) => setName(detail.value)} />
            </FormField>
            <FormField label="Role" description="What the nodes may do; made if it is not there">
              <Input value={role} onChange={({ detail }) => setRole(detail.value)} />
            </FormField>
          </ColumnLayout>
          <ExpandableSection headerText="Tags">
            <TagEditor tags={tags} tagLimit={50} onChange={({ detail }) => setTags(detail.tags)} />
          </ExpandableSection>
          <Failure error={work.error} />
        </SpaceBetween>
      )}
    </Modal>
  );
}

function Paste({ id, code, most }: { id: string; code: string; most: number }) {
  const [host, setHost] = useState(
    location.protocol === "https:" ? location.host : `${location.hostname}:${config().agentsPort ?? 7743}`,
  );
  const fingerprint = useQuery({
    queryKey: ["authority"],
    queryFn: authorityFingerprint,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const came = useQuery({
    queryKey: ["nodes", "of activation", id],
    queryFn: () => readNodes({ filters: [{ key: "ActivationIds", value: id }], size: 50 }),
    refetchInterval: 2_000,
  });
  const nodes = came.data?.items ?? [];
  return (
    <SpaceBetween size="l">
      <FormField
        label="Address of this server, as the machine reaches it"
        constraintText="Of the TLS listener, with its port"
      >
        <Input value={host} onChange={({ detail }) => setHost(detail.value.trim())} />
      </FormField>
      <FormField label="Paste this into a root shell on the machine" stretch>
        <Lines
          label="Line that registers a node"
          text={enrolmentLine({ url: `https://${host}`, fingerprint: fingerprint.data, id, code })}
        />
      </FormField>
      <Alert type="info">
        The code is not shown again. It needs Linux with Python 3.11 or newer; the line installs the agent and makes it
        a service. amazon-ssm-agent registers with the same id and code.
      </Alert>
      {nodes.length < most && <StatusIndicator type="in-progress">Waiting for the machine to register</StatusIndicator>}
      {nodes.map((node) => (
        <StatusIndicator key={node.InstanceId} type="success">
          Registered: <Link to={`/nodes/${node.InstanceId}`}>{nodeName(node)}</Link>
        </StatusIndicator>
      ))}
    </SpaceBetween>
  );
}
