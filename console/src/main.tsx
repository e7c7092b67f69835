import "./ui/styleSheets";
import "@cloudscape-design/global-styles/index.css";
import "./ui/base.css";
import I18nProvider from "@cloudscape-design/components/i18n";
import messages from "@cloudscape-design/components/i18n/messages/all.en";
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { readConfig } from "./aws/config";
import { takeUp } from "./aws/signedIn";
import { App } from "./shell/App";
import { beginMode } from "./shell/mode";
import { queries } from "./shell/queries";

beginMode();
await Promise.allSettled([readConfig(), takeUp()]);

createRoot(document.getElementById("console") as HTMLElement).render(
  <StrictMode>
    <I18nProvider locale="en" messages={[messages]}>
      <QueryClientProvider client={queries}>
        <App />
      </QueryClientProvider>
    </I18nProvider>
  </StrictMode>,
);
