; Stands in for the frozen program where the installer is tried: writes down how it was started, beside
; itself, and runs for as long as a file `stay` lies there.
;   makensis -DOUT=program.exe program.nsi
Unicode true
Target amd64-unicode
Name "stand-in"
OutFile "${OUT}"
SilentInstall silent
RequestExecutionLevel user

Section
  FileOpen $0 "$EXEDIR\started" w
  FileWriteUTF16LE $0 "$CMDLINE"
  FileClose $0
  staying:
  IfFileExists "$EXEDIR\stay" 0 done
  Sleep 50
  Goto staying
  done:
  Delete "$EXEDIR\started"
SectionEnd
