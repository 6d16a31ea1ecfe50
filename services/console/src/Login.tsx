import { Alert, Button, Code, Container, Paper, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";

import { api, Refused } from "./api/client";
import { session, useSession } from "./session";

/** Asks for a key and tries it. */
export function Login() {
  const { ended } = useSession();
  const [key, setKey] = useState("");
  const [refused, setRefused] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);

  async function enter(event: React.FormEvent) {
    event.preventDefault();
    const tried = key.trim();
    if (!tried) {
      setRefused("Enter a key.");
      return;
    }
    if (/[^\x21-\x7e]/.test(tried)) {
      setRefused("A key has only letters, digits and signs, in one piece. Something else was pasted along with it: a space, a quotation mark, or a second line.");
      return;
    }
    setBusy(true);
    try {
      await api.GET("/v1/me", { headers: { Authorization: `Bearer ${tried}` } });
      session.begin(tried);
    } catch (error) {
      setRefused(error instanceof Refused ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <Container component="main" size={460} pt={90}>
      <Title order={1} size="h2" mb="md">medcoss</Title>
      {ended && (
        <Alert color="orange" mb="md" title="Your session has ended" role="alert">
          {ended}. Log in again to go on where you were.
        </Alert>
      )}
      <Paper withBorder p="lg" radius="md" component="form" onSubmit={enter}>
        <Stack>
          <PasswordInput
            label="API key" description="It stays in this tab and is forgotten when the tab is closed." value={key}
            onChange={(event) => setKey(event.currentTarget.value)} error={refused} autoComplete="off" autoFocus
            visibilityToggleButtonProps={{ "aria-label": "Show the key" }}
          />
          <Button type="submit" loading={busy}>Log in</Button>
          <Text size="sm" c="dimmed">
            On a platform of your own, <Code>medcoss key</Code> prints the administrator&apos;s key. Elsewhere an administrator makes
            one for you with <Code>medcoss keys create</Code>.
          </Text>
        </Stack>
      </Paper>
    </Container>
  );
}
