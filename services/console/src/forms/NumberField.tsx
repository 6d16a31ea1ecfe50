import { Text, TextInput } from "@mantine/core";
import { useState } from "react";

interface Props {
  label: React.ReactNode;
  description?: React.ReactNode;
  /** Text where no number was typed: it stays, and the platform refuses it, too. */
  value: number | string | null | undefined;
  /** What holds where nothing is given. */
  fallback: number | string | null | undefined;
  whole: boolean;
  unit?: string | undefined;
  error?: React.ReactNode;
  required?: boolean;
  set: (value: number | string | undefined) => void;
  ariaLabel?: string | undefined;
}

const shown = (value: number | string | null | undefined) => (value == null ? "" : String(value));

/** In another unit; what is no number stays as it was typed. */
export function scaled(value: number | string | undefined, by: (value: number) => number): number | undefined {
  return typeof value === "number" ? by(value) : (value as undefined);
}

/** A number that may be written as 1e-4; nothing given shows what holds then. */
export function NumberField({ label, description, value, fallback, whole, unit, error, required = false, set, ariaLabel }: Props) {
  const [typed, setTyped] = useState<string | null>(null);
  const text = typed ?? shown(value ?? fallback);
  const wrong = typeof value === "string" ? `expected a ${whole ? "whole number, e.g. 12" : "number, e.g. 0.5 or 1e-4"}` : null;
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
        set(now.trim() ? (Number.isFinite(found) ? found : now) : undefined);
      }}
      onBlur={() => setTyped(null)}
    />
  );
}
