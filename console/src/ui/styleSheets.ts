/**
 * xterm.js writes its rules into <style> elements, which the Content-Security-Policy forbids. Scripts that make one get
 * an element here whose text becomes a constructed sheet, which the policy lets through: no markup can make one.
 */
const make = document.createElement.bind(document);

function sheetElement(): HTMLElement {
  const sheet = new CSSStyleSheet();
  const element = make("span");
  const remove = element.remove.bind(element);
  let text = "";
  document.adoptedStyleSheets.push(sheet);
  element.hidden = true;
  element.remove = () => {
    remove();
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
  };
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (value: string) => {
      text = value;
      sheet.replaceSync(value);
    },
  });
  return element;
}

document.createElement = ((name: string, options?: ElementCreationOptions) =>
  name === "style" ? sheetElement() : make(name, options)) as typeof document.createElement;
