import { Alert, Button, Group, List, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";

import { Refused } from "../api/client";

/** What went wrong, in the platform's words, and what can be done from here. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const refused = error instanceof Refused ? error : null;
  const detail = error instanceof Error ? error.message : String(error);
  // what is said already is not said again
  const fields = refused?.fields.filter((each) => each.detail !== detail) ?? [];
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle aria-hidden />} title={refused?.title ?? "This went wrong"} role="alert">
      <Text size="sm">{detail}</Text>
      {fields.length > 0 && (
        <List size="sm" mt={4}>
          {fields.slice(0, 10).map((each) => (
            <List.Item key={each.pointer + each.detail}>{each.pointer ? `${each.pointer}: ` : ""}{each.detail}</List.Item>
          ))}
        </List>
      )}
      <Group mt="xs" gap="md">
        {retry && <Button size="xs" variant="default" onClick={retry}>Try again</Button>}
        {refused?.requestId && <Text size="xs" c="dimmed">request {refused.requestId}</Text>}
      </Group>
    </Alert>
  );
}
