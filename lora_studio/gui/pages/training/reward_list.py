"""Editor of the rewards of a recipe: a list, and the settings of each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from PySide6.QtWidgets import QGridLayout, QMenu, QVBoxLayout, QWidget

from lora_studio.core.rewards.spec import DETAILS, TITLES, USED_FIELDS, RewardSpec, name_rewards
from lora_studio.gui.controls.controls import Control, name_control
from lora_studio.gui.controls.field_editor import make_control
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_facts
from lora_studio.gui.plots.metrics import format_reward_name
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    CollapsibleSection,
    button,
    clear_layout,
    column,
    insert_breaks,
    label,
    row,
    separator,
    tool_button,
)
from lora_studio.gui.widgets.tooltips import plain_tip

#: Fields of every kind that few people need.
_ADVANCED = ("scale", "lowest", "highest")

_DETAILS: Mapping[str, str] = {str(kind): detail for kind, detail in DETAILS.items()}
_USED: Mapping[str, tuple[str, ...]] = {str(kind): fields for kind, fields in USED_FIELDS.items()}
_TITLES: Mapping[str, str] = {str(kind): title for kind, title in TITLES.items()}


class RewardList(Control):
    """Editor of a list of rewards, as plain values; what isn't a reward is kept and not shown."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty list with a button that adds a reward."""
        super().__init__(parent)
        self._value: list[Any] = []
        self.rewards: list[RewardEditor] = []
        self.add = button(tr("Add reward"), self._ignore)
        self.menu = QMenu(self.add)
        for kind, title in _TITLES.items():
            action = self.menu.addAction(tr(title))
            action.triggered.connect(lambda _=False, kind=kind: self.add_reward(kind))
            action.setToolTip(plain_tip(tr(_DETAILS[kind])))
        self.menu.setToolTipsVisible(True)
        self.add.setMenu(self.menu)
        self.setFocusProxy(self.add)
        self._rows = column(spacing=Spacing.L)
        layout = column(self._rows, row(self.add, None), spacing=Spacing.L)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)

    def show_value(self, value: Any) -> None:
        """Show a list of rewards; anything else is an empty list."""
        items = value if isinstance(value, list | tuple) else ()
        plain = [_to_plain(item) for item in items]
        if plain == self._value:
            return
        self._value = plain
        self._rebuild()

    def commit(self) -> None:
        """Apply what was typed but not entered."""
        for editor in self.rewards:
            editor.commit()

    def add_reward(self, kind: str) -> None:
        """Add a reward of a kind with its defaults."""
        self._set([*self._value, {"kind": kind}])

    def remove_reward(self, index: int) -> None:
        """Remove a reward."""
        self._set([item for position, item in enumerate(self._value) if position != index])

    def _ignore(self) -> None:
        """Do nothing: the button opens its menu."""

    def _rebuild(self) -> None:
        clear_layout(self._rows)
        self.rewards = []
        for index, value in enumerate(self._value):
            if not isinstance(value, dict) or str(value.get("kind", "exact")) not in _USED:
                continue
            editor = RewardEditor(value)
            editor.edited.connect(partial(self._change, index))
            editor.remove.clicked.connect(lambda _=False, at=index: self.remove_reward(at))
            self.rewards.append(editor)
            self._rows.addWidget(editor)
        self._show_titles()

    def _change(self, index: int, value: dict[str, Any]) -> None:
        self._value = [*self._value[:index], value, *self._value[index + 1 :]]
        self._show_titles()
        self._report()

    def _show_titles(self) -> None:
        """Name each reward as its curve will be."""
        known: list[dict[str, Any]] = [
            {"kind": editor.kind, "name": editor.name} for editor in self.rewards
        ]
        specs = [RewardSpec.model_construct(**each) for each in known]
        for editor, name in zip(self.rewards, name_rewards(specs), strict=True):
            editor.set_title(format_reward_name(name))

    def _set(self, value: list[Any]) -> None:
        self._value = value
        self._rebuild()
        self._report()

    def _report(self) -> None:
        self.edited.emit([dict(item) if isinstance(item, dict) else item for item in self._value])
        self.left.emit()


class RewardEditor(Control):
    """Title, sentence, and settings of one reward; its kind can't be changed."""

    def __init__(self, value: dict[str, Any], parent: QWidget | None = None) -> None:
        """Show a reward."""
        super().__init__(parent)
        self._value = dict(value)
        self.kind = str(value.get("kind", "exact"))
        self.title = label("", "section", wrap=True)
        self.remove = tool_button("close", "", self._ignore)
        self.controls: dict[str, Control] = {}
        self._advanced = CollapsibleSection()
        self._advanced.add(self._make_grid(_ADVANCED))
        main = [name for name in _USED[self.kind] if name not in _ADVANCED]
        self.setFocusProxy(self.remove)
        head = row(self.title, self.remove)
        head.setStretch(0, 1)
        layout: QVBoxLayout = column(
            head,
            label(tr(_DETAILS[self.kind]), "caption", wrap=True),
            self._make_grid(main),
            self._advanced,
            separator(),
            spacing=Spacing.S,
        )
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)
        self.set_title(tr(_TITLES[self.kind]))

    @property
    def name(self) -> str:
        """The name that the user has given to the reward, "" without one."""
        return str(self._get("name"))

    def set_title(self, title: str) -> None:
        """Show the name of the reward."""
        self.title.setText(insert_breaks(title))
        self.remove.setToolTip(plain_tip(tr("Remove {name}").format(name=title)))
        self.remove.setAccessibleName(tr("Remove {name}").format(name=title))

    def show_value(self, value: Any) -> None:
        """Show the settings of a reward of the same kind."""
        self._value = dict(value)
        for name, control in self.controls.items():
            control.show_value(self._get(name))

    def commit(self) -> None:
        """Apply what was typed but not entered."""
        for control in self.controls.values():
            control.commit()

    def _ignore(self) -> None:
        """Do nothing: the list removes the reward."""

    def _make_grid(self, fields: tuple[str, ...] | list[str]) -> QWidget:
        """Return the controls of some fields in two columns."""
        holder = QWidget()
        grid = QGridLayout(holder)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(Spacing.XL)
        grid.setVerticalSpacing(Spacing.M)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        for index, name in enumerate(fields):
            grid.addWidget(self._make_field(name), *divmod(index, 2))
        return holder

    def _make_field(self, name: str) -> QWidget:
        """Return a control with its title above and its description below."""
        facts = localize_facts(RewardSpec, name)
        control = make_control(facts)
        control.show_value(self._get(name))
        control.edited.connect(partial(self._change, name))
        name_control(control, facts.title, facts.description)
        self.controls[name] = control
        head = [] if control.has_title else [label(_with_unit(facts.title, facts.unit), "label")]
        holder = QWidget()
        layout = column(
            *head, control, label(facts.description, "caption", wrap=True), None, spacing=Spacing.XS
        )
        layout.setContentsMargins(0, 0, 0, 0)
        holder.setLayout(layout)
        return holder

    def _get(self, name: str) -> Any:
        return self._value.get(name, RewardSpec.model_fields[name].default)

    def _change(self, name: str, value: Any) -> None:
        """Store a setting; one at its default isn't stored."""
        self._value[name] = value
        default = RewardSpec.model_fields[name].default
        if value == default or (default is None and value == ""):
            del self._value[name]
        self.edited.emit(dict(self._value))


def _with_unit(title: str, unit: str) -> str:
    return f"{title} ({tr(unit)})" if unit else title


def _to_plain(item: Any) -> Any:
    """Return a reward as a dict, anything else unchanged."""
    return item.model_dump(mode="json") if isinstance(item, RewardSpec) else item
