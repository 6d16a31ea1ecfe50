import "@mantine/core/styles.css";
import "./app.css";

import { createTheme, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Refused } from "./api/client";
import { makeRouter } from "./router";
import { reloadAfterUpgrade } from "./upgrade";

reloadAfterUpgrade();
const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5000,
      // what was refused stays refused; what did not answer is asked again
      retry: (count, error) => count < 5 && (!(error instanceof Refused) || error.status === 0 || error.status >= 500),
      retryDelay: (count) => Math.min(1000 * 2 ** count, 10_000),
    },
  },
});
const theme = createTheme({
  primaryColor: "blue",
  primaryShade: { light: 8, dark: 8 },
  autoContrast: true,
  defaultRadius: "md",
  cursorType: "pointer",
  // help below its input, so that those of a row are in line
  components: { InputWrapper: { defaultProps: { inputWrapperOrder: ["label", "input", "description", "error"] } } },
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif",
});
const nonce = document.querySelector<HTMLMetaElement>('meta[name="nonce"]')?.content ?? "";
const root = document.getElementById("root");
if (!root) throw new Error("the page has no root");
createRoot(root).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce}>
      <QueryClientProvider client={queries}>
        <RouterProvider router={makeRouter(queries)} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
