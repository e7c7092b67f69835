import type { Activation } from "@aws-sdk/client-ssm";
import Button from "@cloudscape-design/components/button";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Confirm } from "../../ui/Confirm";
import { Copyable } from "../../ui/Copyable";
import { Link } from "../../ui/links";
import { type Column, Nothing, ResourceTable } from "../../ui/ResourceTable";
import { Time } from "../../ui/Time";
import { AddNode } from "./AddNode";
import { deleteActivation, readActivations } from "./queries";

function State({ activation }: { activation: Activation }) {
  if (activation.Expired) return <StatusIndicator type="stopped">Expired</StatusIndicator>;
  if ((activation.RegistrationsCount ?? 0) >= (activation.RegistrationLimit ?? 1))
    return <StatusIndicator type="stopped">Used up</StatusIndicator>;
  return <StatusIndicator type="success">Open</StatusIndicator>;
}

const COLUMNS: Column<Activation>[] = [
  { id: "id", header: "Activation ID", width: 340, cell: (each) => <Copyable text={each.ActivationId} /> },
  { id: "state", header: "State", width: 120, cell: (each) => <State activation={each} /> },
  {
    id: "used",
    header: "Machines",
    width: 120,
    cell: (each) => (
      <Link to={`/nodes?f=${encodeURIComponent(`ActivationIds=${each.ActivationId}`)}`}>
        {each.RegistrationsCount ?? 0} of {each.RegistrationLimit}
      </Link>
    ),
  },
  { id: "name", header: "Name", width: 150, cell: (each) => each.DefaultInstanceName || "–" },
  { id: "role", header: "Role", width: 200, cell: (each) => each.IamRole || "–" },
  { id: "ends", header: "Expires", width: 150, cell: (each) => <Time at={each.ExpirationDate} /> },
  { id: "made", header: "Created", width: 150, cell: (each) => <Time at={each.CreatedDate} /> },
];

export function ActivationsPage() {
  const [asked, setAsked] = useState<"add" | Activation>();
  const queries = useQueryClient();
  const close = () => setAsked(undefined);
  return (
    <>
      <ResourceTable
        name="activations"
        title="Activations"
        queryKey={["activations"]}
        read={readActivations}
        columns={COLUMNS}
        id={(each) => each.ActivationId ?? ""}
        properties={[
          { key: "ActivationIds", label: "Activation ID" },
          { key: "DefaultInstanceName", label: "Name" },
          { key: "IamRole", label: "Role" },
        ]}
        refresh={10_000}
        selection="single"
        actions={(selected) => (
          <>
            <Button
              disabled={!selected.length}
              disabledReason="Choose an activation"
              onClick={() => setAsked(selected[0])}
            >
              Delete
            </Button>
            <Button variant="primary" onClick={() => setAsked("add")}>
              Create activation
            </Button>
          </>
        )}
        empty={
          <Nothing title="No activations">
            <span>An activation is what machines register with to become nodes.</span>
            <Button onClick={() => setAsked("add")}>Create activation</Button>
          </Nothing>
        }
      />
      {asked === "add" && <AddNode close={close} />}
      {asked && asked !== "add" && (
        <Confirm
          header="Delete this activation?"
          act="Delete"
          close={close}
          perform={async () => {
            await deleteActivation(asked.ActivationId ?? "");
            await queries.invalidateQueries({ queryKey: ["activations"] });
          }}
        >
          Nobody registers with it any more. Nodes that did stay.
        </Confirm>
      )}
    </>
  );
}
