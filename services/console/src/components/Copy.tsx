import { Button, Group, Text } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { useState } from "react";

type State = "fresh" | "copied" | "failed";

/** Browsers give the clipboard to pages that came by https or from the machine itself; elsewhere the old way may do. */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    const before = document.activeElement as HTMLElement | null;
    document.body.append(area);
    area.select();
    const is = document.execCommand("copy");
    area.remove();
    before?.focus();
    return is;
  }
}

/** Puts a text into the clipboard, or says that it could not. */
export function Copy({ text }: { text: string }) {
  const [state, setState] = useState<{ text: string; state: State }>({ text, state: "fresh" });
  const now = state.text === text ? state.state : "fresh";
  return (
    <Group gap="xs">
      {now === "failed" && <Text size="xs" role="alert">The browser does not let this page copy: choose the text and copy it yourself.</Text>}
      <Button size="xs" variant="default" leftSection={now === "copied" ? <IconCheck size={14} aria-hidden /> : <IconCopy size={14} aria-hidden />}
        onClick={() => void copied(text).then((is) => setState({ text, state: is ? "copied" : "failed" }))}>
        {now === "copied" ? "Copied" : "Copy"}
      </Button>
    </Group>
  );
}
