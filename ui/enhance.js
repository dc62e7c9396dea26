// Adds what Streamlit has no element for. The component draws nothing; it changes the page around
// it. Streamlit mounts it again at every change of its data. So all listeners are installed only
// once, and read the current data from `page`.

const PHONE = 768; // px; below it Streamlit's sidebar covers the page

const page = (window.__ragChat ??= { texts: {}, open: () => {}, installed: false });

export default function (component) {
  page.texts = component.data?.texts ?? {};
  page.open = (citation) => component.setTriggerValue("citation", citation);
  if (!page.installed) install();
  markCitations();
  restoreDraft();
}

function install() {
  page.installed = true;
  new MutationObserver(markCitations).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("click", onClick, true);
  document.addEventListener("keydown", onKey, true);
  document.addEventListener("input", saveDraft, true);
  document.addEventListener("dragover", onDrag, true);
  document.addEventListener("drop", onDrop, true);
  if (field()?.value) saveDraft({ target: field() }); // the user typed before this script ran
}

// Citations: the badges that Markdown drew for [n] become buttons.

function badges() {
  return document.querySelectorAll("[class*='st-key-answer-'] .stMarkdownBadge");
}

function markCitations() {
  for (const badge of badges()) {
    if (badge.getAttribute("role") === "button" || !/^\d+$/.test(badge.textContent)) continue;
    badge.setAttribute("role", "button");
    badge.setAttribute("tabindex", "0");
    badge.setAttribute("aria-label", `Open source ${badge.textContent}`);
    badge.classList.add("citation");
  }
  for (const name of Object.entries(LABELS)) {
    for (const element of document.querySelectorAll(name[0])) {
      if (!element.getAttribute("aria-label")) element.setAttribute("aria-label", name[1]);
    }
  }
}

// Streamlit leaves these without a name for screen readers.
const LABELS = {
  "[data-testid=stFileUploaderDropzone] input[type=file]": "Add PDFs",
  "[data-testid=stChatInput] input[type=file]": "Attach PDFs",
  "[data-testid=stProgress] [role=progressbar]": "Progress",
  "[data-testid=stSidebar]": "Conversations and documents",
};

function citationOf(target) {
  const badge = target.closest?.(".citation");
  const answer = badge?.closest("[class*='st-key-answer-']");
  const key = [...(answer?.classList ?? [])].find((name) => name.startsWith("st-key-answer-"));
  if (!badge || !key) return null;
  return { message: key.slice("st-key-answer-".length), index: Number(badge.textContent) };
}

function onKey(event) {
  if (event.key === "Enter" && !event.shiftKey && event.target === field()) forgetDraft();
  if (event.key !== "Enter" && event.key !== " ") return;
  const citation = citationOf(event.target);
  if (citation) {
    event.preventDefault();
    page.open(citation);
  }
}

function onClick(event) {
  const citation = citationOf(event.target);
  if (citation) {
    page.open(citation);
    return;
  }
  copyIfAsked(event.target);
  if (event.target.closest?.("[data-testid=stChatInputSubmitButton]")) forgetDraft();
  if (event.target.closest?.(".st-key-sign_out")) sessionStorage.clear();
  if (event.target.closest?.("[class*='st-key-open-'], [class*='st-key-hit-'], .st-key-new_conversation")) {
    closeSidebarOnPhone();
    setTimeout(restoreDraft, 600);
  }
}

// Copying.

function copyIfAsked(target) {
  const holder = target.closest?.("[class*='st-key-copy-']");
  const key = [...(holder?.classList ?? [])].find((name) => name.startsWith("st-key-copy-"));
  const text = key && page.texts[key.slice("st-key-copy-".length)];
  if (!text) return;
  if (navigator.clipboard) {
    navigator.clipboard.writeText(text).catch(() => copyOldWay(text));
  } else {
    copyOldWay(text); // without TLS, browsers give pages no clipboard
  }
  const button = holder.querySelector("button");
  button?.classList.add("copied");
  setTimeout(() => button?.classList.remove("copied"), 1500);
}

function copyOldWay(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// A draft survives a reload and a change of the conversation.

function field() {
  return document.querySelector("[data-testid=stChatInputTextArea]");
}

function draftName() {
  return `draft-${new URLSearchParams(location.search).get("session") ?? ""}`;
}

function saveDraft(event) {
  if (event.target !== field()) return;
  if (event.target.value) sessionStorage.setItem(draftName(), event.target.value);
  else sessionStorage.removeItem(draftName());
}

// After sending, Streamlit empties the field without an event.
function forgetDraft() {
  sessionStorage.removeItem(draftName());
}

function restoreDraft() {
  const area = field();
  const draft = sessionStorage.getItem(draftName());
  if (!area || area.value || !draft || page.restored === draftName()) return;
  page.restored = draftName();
  const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
  set.call(area, draft);
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

// PDFs that are dropped anywhere on the page go to the upload field.

function carriesFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

function hasOwnDrop(event) {
  return event.target.closest?.("[data-testid=stFileUploaderDropzone], [data-testid=stChatInput]");
}

function onDrag(event) {
  if (carriesFiles(event)) event.preventDefault();
}

function onDrop(event) {
  if (!carriesFiles(event) || hasOwnDrop(event)) return;
  const input = document.querySelector("[data-testid=stFileUploader] input[type=file]");
  if (!input) return;
  event.preventDefault();
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

// On a phone, the sidebar closes after a choice.

function closeSidebarOnPhone() {
  if (window.innerWidth >= PHONE) return;
  setTimeout(() => {
    document.querySelector("[data-testid=stSidebarCollapseButton] button")?.click();
  }, 100);
}
