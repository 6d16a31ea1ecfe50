import { Text, TextInput } from "@mantine/core";
import { useState } from "react";

interface Props {
  label: React.ReactNode;
  description?: React.ReactNode;
  value: number | null | undefined;
  /** What holds where nothing is given. */
  fallback: number | null | undefined;
  whole: boolean;
  unit?: string | undefined;
  error?: React.ReactNode;
  required?: boolean;
  set: (value: number | undefined) => void;
  ariaLabel?: string | undefined;
}

const shown = (value: number | null | undefined) => (value == null ? "" : String(value));

/** A number that may be written as 1e-4; nothing given shows what holds then. */
export function NumberField({ label, description, value, fallback, whole, unit, error, required = false, set, ariaLabel }: Props) {
  const [typed, setTyped] = useState<string | null>(null);
  const text = typed ?? shown(value ?? fallback);
  const wrong = typed?.trim() && !Number.isFinite(Number(typed)) ? "expected a number" : null;
  return (
    <TextInput
      label={label} description={description} error={wrong ?? error} inputMode={whole ? "numeric" : "decimal"} withAsterisk={required}
      value={text} styles={value == null && typed === null ? { input: { color: "var(--mantine-color-dimmed)" } } : {}} aria-label={ariaLabel}
      rightSection={unit ? <Text size="xs" c="dimmed" pr="sm" style={{ whiteSpace: "nowrap" }}>{unit}</Text> : undefined}
      rightSectionWidth={unit ? 16 + 7.5 * unit.length : undefined} rightSectionPointerEvents="none"
      onChange={(event) => {
        const now = event.currentTarget.value;
        setTyped(now);
        const found = Number(now);
        if (!now.trim()) set(undefined);
        else if (Number.isFinite(found)) set(found);
      }}
      onBlur={() => setTyped(null)}
    />
  );
}
