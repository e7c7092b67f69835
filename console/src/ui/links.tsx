import CloudscapeLink from "@cloudscape-design/components/link";
import type { ReactNode } from "react";
import { useHref, useNavigate } from "react-router";

/** A link within the console, that a middle click opens in a tab of its own. */
export function Link({ to, children, label }: { to: string; children: ReactNode; label?: string }) {
  const navigate = useNavigate();
  const href = useHref(to);
  return (
    <CloudscapeLink
      href={href}
      ariaLabel={label}
      onFollow={(event) => {
        event.preventDefault();
        navigate(to);
      }}
    >
      {children}
    </CloudscapeLink>
  );
}
