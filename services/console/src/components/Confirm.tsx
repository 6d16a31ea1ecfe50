import { Button, Group, Popover, Text } from "@mantine/core";
import { useState } from "react";

interface Props {
  /** What the button says, and the one that does it. */
  label: string;
  yes: string;
  no?: string;
  icon?: React.ReactNode;
  busy?: boolean;
  danger?: boolean;
  size?: string;
  does: () => void;
  children: React.ReactNode;
}

/** A button that says what will happen before it does. */
export function Confirm({ label, yes, no = "Keep it", icon, busy = false, danger = true, size = "sm", does, children }: Props) {
  const [opened, setOpened] = useState(false);
  return (
    <Popover opened={opened} onChange={setOpened} position="bottom-end" trapFocus withArrow>
      <Popover.Target>
        <Button variant="default" size={size} leftSection={icon} loading={busy} onClick={() => setOpened(!opened)}>{label}</Button>
      </Popover.Target>
      <Popover.Dropdown aria-label={`${yes}?`}>
        <Text size="sm" maw={280} component="div">{children}</Text>
        <Group mt="sm" justify="flex-end" gap="xs">
          <Button size="xs" variant="default" onClick={() => setOpened(false)}>{no}</Button>
          <Button size="xs" color={danger ? "red" : undefined} onClick={() => { setOpened(false); does(); }}>{yes}</Button>
        </Group>
      </Popover.Dropdown>
    </Popover>
  );
}
