import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import Textarea from "@cloudscape-design/components/textarea";
import Toggle from "@cloudscape-design/components/toggle";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Failure } from "../../ui/Failure";
import { say } from "../../ui/notices";
import { type Preferences, preferencesQuery, writePreferences } from "./queries";

type Texts = { [K in keyof Preferences]: Preferences[K] extends string ? K : never }[keyof Preferences];
type Flags = { [K in keyof Preferences]: Preferences[K] extends boolean ? K : never }[keyof Preferences];

const within = (text: string, least: number, most: number) =>
  /^\d+$/.test(text) && Number(text) >= least && Number(text) <= most;

/** What keeps the preferences from being saved, by member. */
export function faultsOf(preferences: Preferences): Partial<Record<keyof Preferences, string>> {
  const { idleSessionTimeout, maxSessionDuration, runAsEnabled, runAsDefaultUser } = preferences;
  return {
    ...(!within(idleSessionTimeout, 1, 60) && { idleSessionTimeout: "1 to 60 minutes" }),
    ...(maxSessionDuration && !within(maxSessionDuration, 1, 1440) && { maxSessionDuration: "1 to 1440 minutes" }),
    ...(runAsEnabled &&
      runAsDefaultUser &&
      !/^[A-Za-z_][\w.-]*\$?$/.test(runAsDefaultUser) && { runAsDefaultUser: "No name of a user" }),
  };
}

export function PreferencesPage() {
  const { data, error, refetch } = useQuery(preferencesQuery);
  const [edited, setEdited] = useState<Preferences>();
  const queries = useQueryClient();
  const present = edited ?? data?.preferences;
  const work = useMutation({
    mutationFn: (preferences: Preferences) => writePreferences(data?.stored, preferences),
    onSuccess: async () => {
      say("success", "The preferences are saved", "They hold for sessions that begin from now on.");
      await queries.invalidateQueries({ queryKey: preferencesQuery.queryKey });
      setEdited(undefined);
    },
  });
  if (error && !data) return <Failure error={error} retry={() => refetch()} />;
  if (!present) return <Spinner size="large" />;

  const faults = faultsOf(present);
  const change = (next: Partial<Preferences>) => setEdited({ ...present, ...next });
  const text = (key: Texts, label: string, description: string, placeholder = "") => (
    <FormField label={label} description={description} errorText={faults[key]}>
      <Input
        value={present[key]}
        placeholder={placeholder}
        spellcheck={false}
        onChange={({ detail }) => change({ [key]: detail.value })}
      />
    </FormField>
  );
  const flag = (key: Flags, label: string, description: string) => (
    <Toggle
      checked={present[key]}
      description={description}
      onChange={({ detail }) => change({ [key]: detail.checked })}
    >
      {label}
    </Toggle>
  );
  const profile = (system: "linux" | "windows", label: string) => (
    <FormField label={label} stretch>
      <Textarea
        value={present.shellProfile[system]}
        rows={3}
        spellcheck={false}
        onChange={({ detail }) => change({ shellProfile: { ...present.shellProfile, [system]: detail.value } })}
      />
    </FormField>
  );

  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={`What holds for sessions of this account and region that name no document of their own${data?.stored ? "" : "; nothing is set yet, these are the defaults"}.`}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button disabled={!edited} onClick={() => setEdited(undefined)}>
                Discard
              </Button>
              <Button
                variant="primary"
                disabled={!edited || Object.keys(faults).length > 0}
                loading={work.isPending}
                onClick={() => work.mutate(present)}
              >
                Save
              </Button>
            </SpaceBetween>
          }
        >
          Session preferences
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Failure error={work.error} />
        <Container header={<Header variant="h2">How long</Header>}>
          <ColumnLayout columns={2}>
            {text("idleSessionTimeout", "Idle for at most", "Minutes without a key or output, 1 to 60", "20")}
            {text("maxSessionDuration", "Open for at most", "Minutes, 1 to 1440; without it there is no limit", "None")}
          </ColumnLayout>
        </Container>
        <Container header={<Header variant="h2">As whom</Header>}>
          <SpaceBetween size="m">
            {flag(
              "runAsEnabled",
              "Run as a user of the node",
              "The tag SSMSessionRunAs of who connects says which; else the one below. If the node has no such user the session fails.",
            )}
            {present.runAsEnabled && text("runAsDefaultUser", "User", "Where there is no such tag", "ssm-user")}
          </SpaceBetween>
        </Container>
        <Container
          header={
            <Header variant="h2" description="Transcripts, besides the recording that this server keeps">
              Logs
            </Header>
          }
        >
          <ColumnLayout columns={2}>
            <SpaceBetween size="m">
              {text("cloudWatchLogGroupName", "Log group", "Lines of the sessions go to it")}
              {flag("cloudWatchStreamingEnabled", "While the session runs", "Else when it ends")}
              {flag("cloudWatchEncryptionEnabled", "Only if the group is encrypted", "Else it is refused")}
            </SpaceBetween>
            <SpaceBetween size="m">
              {text("s3BucketName", "Bucket", "A transcript is put there when a session ends")}
              {text("s3KeyPrefix", "Prefix", "Of the keys in the bucket")}
              {flag("s3EncryptionEnabled", "Only if the bucket is encrypted", "Else it is refused")}
            </SpaceBetween>
          </ColumnLayout>
        </Container>
        <Container header={<Header variant="h2">Encryption</Header>}>
          {text(
            "kmsKeyId",
            "Key",
            "Encrypts sessions between client and node, besides TLS. Both need it, and nothing is recorded.",
          )}
        </Container>
        <Container
          header={
            <Header variant="h2" description="Run in the shell when it starts">
              Profile
            </Header>
          }
        >
          <SpaceBetween size="m">
            {profile("linux", "Linux and macOS")}
            {profile("windows", "Windows")}
          </SpaceBetween>
        </Container>
        <Box />
      </SpaceBetween>
    </ContentLayout>
  );
}
