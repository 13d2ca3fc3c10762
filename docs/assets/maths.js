// Formulas: Markdown leaves \( … \) and \[ … \] in elements of the class arithmatex; KaTeX draws them.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const display = element.tagName === "DIV";
    const text = element.textContent.trim().slice(2, -2);
    katex.render(text, element, { displayMode: display, throwOnError: true });
  }
});
