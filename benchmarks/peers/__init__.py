"""The servers Trimtab is measured against, a file each; they run where that server is installed and nothing of ours."""
