import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useMutation } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Failure } from "./Failure";

type Props = {
  header: string;
  /** The word on the button, such as Terminate. */
  act: string;
  children?: ReactNode;
  /** Whether the act may be done as things stand; it may unless this says otherwise. */
  ready?: boolean;
  size?: "medium" | "large";
  perform: () => Promise<unknown>;
  close: () => void;
};

/** A question, or a short form, whose act is done while the dialogue is open: a failure is shown in it. */
export function Confirm({ header, act, children, ready = true, size = "medium", perform, close }: Props) {
  const work = useMutation({ mutationFn: perform, onSuccess: close });
  const submit = () => ready && !work.isPending && work.mutate();
  return (
    <Modal
      visible
      size={size}
      header={header}
      closeAriaLabel="Close"
      onDismiss={close}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={close}>
              Cancel
            </Button>
            <Button variant="primary" disabled={!ready} loading={work.isPending} onClick={submit}>
              {act}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <SpaceBetween size="m">
          {children}
          <Failure error={work.error} />
        </SpaceBetween>
        <button type="submit" hidden aria-hidden tabIndex={-1} />
      </form>
    </Modal>
  );
}
