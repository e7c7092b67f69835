import AppLayout from "@cloudscape-design/components/app-layout";
import BreadcrumbGroup from "@cloudscape-design/components/breadcrumb-group";
import Flashbar from "@cloudscape-design/components/flashbar";
import SideNavigation from "@cloudscape-design/components/side-navigation";
import { useEffect, useState } from "react";
import { Outlet, useHref, useLocation, useNavigate } from "react-router";
import { EndingSignIn } from "../capabilities/access/EndingSignIn";
import { TERMINALS } from "../capabilities/sessions/places";
import { Terminals } from "../capabilities/sessions/Terminals";
import { useNotices } from "../ui/notices";
import { CAPABILITIES, HOME } from "./capabilities";
import { TopBar } from "./TopBar";

/** What stands around every page: the bar on top, the navigation, notices, and terminals that stay open elsewhere. */
export function Shell() {
  const { pathname } = useLocation();
  const navigate = useNavigate();
  const base = useHref("/").replace(/\/$/, "");
  const [open, setOpen] = useState(() => matchMedia("(min-width: 912px)").matches);
  const [overTerminals, setOverTerminals] = useState(false);
  const terminals = pathname === TERMINALS;
  const sections = [...new Set(CAPABILITIES.map((each) => each.section))];
  const links = CAPABILITIES.flatMap((each) => each.links);
  const active = links
    .filter(({ to }) => pathname === to || pathname.startsWith(`${to}/`))
    .sort((a, b) => b.to.length - a.to.length)[0];
  const below = active && pathname !== active.to ? pathname.slice(active.to.length + 1) : "";
  useEffect(() => {
    document.title = [below, active?.text, "Pilothouse"].filter(Boolean).join(" · ");
  }, [below, active]);
  return (
    <>
      <TopBar />
      <AppLayout
        headerSelector="#top"
        toolsHide
        navigationOpen={terminals ? overTerminals : open}
        onNavigationChange={({ detail }) => (terminals ? setOverTerminals : setOpen)(detail.open)}
        ariaLabels={{
          navigation: "Navigation",
          navigationClose: "Close navigation",
          navigationToggle: "Open navigation",
        }}
        navigation={
          <SideNavigation
            activeHref={active && base + active.to}
            onFollow={(event) => {
              if (event.detail.external) return;
              event.preventDefault();
              navigate(event.detail.href.slice(base.length) || HOME);
              setOverTerminals(false);
              if (!matchMedia("(min-width: 912px)").matches) setOpen(false);
            }}
            items={sections.map((section) => ({
              type: "section-group" as const,
              title: section,
              items: CAPABILITIES.filter((each) => each.section === section).flatMap((each) =>
                each.links.map(({ text, to }) => ({ type: "link" as const, text, href: base + to })),
              ),
            }))}
          />
        }
        breadcrumbs={
          active &&
          below && (
            <BreadcrumbGroup
              ariaLabel="Breadcrumbs"
              items={[
                { text: active.text, href: base + active.to },
                { text: below, href: base + pathname },
              ]}
              onFollow={(event) => {
                event.preventDefault();
                navigate(event.detail.href.slice(base.length));
              }}
            />
          )
        }
        notifications={
          <>
            <EndingSignIn />
            <Flashbar items={[...useNotices()]} stackItems i18nStrings={{ ariaLabel: "Notices" }} />
          </>
        }
        disableContentPaddings={terminals}
        maxContentWidth={terminals ? Number.MAX_VALUE : undefined}
        contentType={terminals ? "default" : "table"}
        content={
          <>
            <Terminals shown={terminals} />
            {!terminals && <Outlet />}
          </>
        }
      />
    </>
  );
}
