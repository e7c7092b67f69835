import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import TopNavigation from "@cloudscape-design/components/top-navigation";
import { useState } from "react";
import { useHref, useNavigate } from "react-router";
import { chooseRegion, regions, signOut, useRegion, useSignedIn } from "../aws/signedIn";
import { Confirm } from "../ui/Confirm";
import { HOME } from "./capabilities";
import { toggleMode, useMode } from "./mode";

/** `ada` of `arn:aws:iam::123456789012:user/team/ada`. */
export function shortName(arn: string): string {
  return arn.split(/[:/]/).at(-1) ?? arn;
}

export function TopBar() {
  const signedIn = useSignedIn();
  const region = useRegion();
  const mode = useMode();
  const navigate = useNavigate();
  const home = useHref(HOME);
  const [asking, setAsking] = useState(false);
  return (
    <div id="top">
      <TopNavigation
        identity={{
          href: home,
          title: "Pilothouse",
          logo: { src: "/console/icon.svg", alt: "" },
          onFollow: (event) => {
            event.preventDefault();
            navigate(HOME);
          },
        }}
        utilities={[
          {
            type: "button",
            iconSvg: <Moon />,
            ariaLabel: mode === "dark" ? "Light mode" : "Dark mode",
            title: mode === "dark" ? "Light mode" : "Dark mode",
            disableTextCollapse: false,
            onClick: toggleMode,
          },
          {
            type: "menu-dropdown",
            text: region,
            title: "Region",
            ariaLabel: `Region ${region}`,
            items: [
              ...regions().map((id) => ({ id, text: id, disabled: id === region })),
              { id: "another", text: "Another region…" },
            ],
            onItemClick: ({ detail }) => (detail.id === "another" ? setAsking(true) : chooseRegion(detail.id)),
          },
          {
            type: "menu-dropdown",
            text: shortName(signedIn?.arn ?? ""),
            description: signedIn?.arn,
            title: `Account ${signedIn?.accountId}`,
            iconName: "user-profile",
            items: [
              { id: "account", text: `Account ${signedIn?.accountId}`, disabled: true },
              { id: "out", text: "Sign out" },
            ],
            onItemClick: ({ detail }) => detail.id === "out" && signOut(),
          },
        ]}
        i18nStrings={{
          overflowMenuTriggerText: "More",
          overflowMenuTitleText: "All",
          overflowMenuBackIconAriaLabel: "Back",
          overflowMenuDismissIconAriaLabel: "Close",
        }}
      />
      {asking && <AnotherRegion close={() => setAsking(false)} />}
    </div>
  );
}

function AnotherRegion({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const good = /^[a-z]{2}(-[a-z]+)+-\d+$/.test(name.trim());
  return (
    <Confirm
      header="Another region"
      act="Go there"
      ready={good}
      close={close}
      perform={async () => chooseRegion(name.trim())}
    >
      <FormField
        label="Region"
        description="Every region works; each has nodes, parameters and documents of its own."
        errorText={name && !good ? "Such as eu-west-1" : ""}
      >
        <Input value={name} autoFocus placeholder="eu-west-1" onChange={({ detail }) => setName(detail.value)} />
      </FormField>
    </Confirm>
  );
}

function Moon() {
  return (
    <svg viewBox="0 0 16 16" focusable="false" aria-hidden="true">
      <path d="M13.5 9.6A6 6 0 0 1 6.4 2.5 6 6 0 1 0 13.5 9.6Z" />
    </svg>
  );
}
