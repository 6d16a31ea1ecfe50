import { Modal, UnstyledButton } from "@mantine/core";
import { useState } from "react";

/** A picture that opens as large as the window; `children` are what leads through a series of them. */
export function Large({ source, words, lazy = false, children }: { source: string; words: string; lazy?: boolean; children?: React.ReactNode }) {
  const [opened, setOpened] = useState(false);
  return (
    <>
      <UnstyledButton className="larger" onClick={() => setOpened(true)} aria-label={`Show larger: ${words}`}>
        <img className="picture" src={source} alt={words} loading={lazy ? "lazy" : "eager"} />
      </UnstyledButton>
      {/* its lock of scrolling writes inline styles, which the page's policy forbids */}
      <Modal fullScreen lockScroll={false} opened={opened} onClose={() => setOpened(false)} title={words} closeButtonProps={{ "aria-label": "Close" }}>
        <img className="picture largest" src={source} alt={words} />
        {children}
      </Modal>
    </>
  );
}
