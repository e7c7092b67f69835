import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { config } from "../../aws/config";
import { Failure } from "../../ui/Failure";
import { Mark } from "../../ui/Mark";
import { SignInForm } from "./SignInForm";
import { completeAtProvider } from "./signIn";
import "./sign-in.css";

/** All that those see who are not signed in. */
export function SignInPage() {
  const back = useQuery({
    queryKey: ["back from the identity provider"],
    queryFn: async () => (await completeAtProvider()) ?? "",
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  useEffect(() => {
    if (back.data) location.replace(back.data);
  }, [back.data]);
  return (
    <main className="sign-in">
      <div className="sign-in-card">
        <div className="sign-in-brand">
          <Mark size={40} />
          <div>
            <h1>Pilothouse</h1>
            <p>{location.host}</p>
          </div>
        </div>
        <Failure error={back.error} />
        <SignInForm />
      </div>
      <p className="sign-in-foot">
        The administrator's key: <code>pilothouse env</code> on the server
        {config().version && <> · version {config().version}</>}
      </p>
    </main>
  );
}
